/** A page's models in a worker: each is released, whenever the page goes. */
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { open } from '../../src/open/index.ts';
import { ModelHost } from './model-host.ts';
import { type SharedModel, SharedModels } from './shared-models.ts';

/** Counts the models in use. */
class CountedModels extends SharedModels {
  used = 0;

  override async take(): Promise<SharedModel> {
    const model = await open('linnet:tiny-llama');
    this.used++;
    const release = async (): Promise<void> => {
      this.used--;
      await model.dispose();
    };
    return { model, release };
  }
}

describe('the page model', () => {
  beforeAll(() => {
    vi.stubGlobal('crossOriginIsolated', false);
    vi.stubGlobal('navigator', { hardwareConcurrency: 2 });
  });

  const openIn = (host: ModelHost) =>
    host.open({ kind: 'files', name: 'any', files: new Map() }, undefined, () => undefined);

  it('is released if the page goes while it opens', async () => {
    const models = new CountedModels();
    const host = new ModelHost(models);
    const opening = openIn(host);
    await host.close();
    await expect(opening).rejects.toMatchObject({ code: 'ABORTED' });
    expect(models.used).toBe(0);
  });

  it('is released once if others open after it', async () => {
    const models = new CountedModels();
    const host = new ModelHost(models);
    await Promise.all([openIn(host), openIn(host), openIn(host)]);
    expect(models.used).toBe(1);
    await host.close();
    expect(models.used).toBe(0);
  });
});
