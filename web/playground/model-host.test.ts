/** Models of a page in a worker: each is given back, whenever the page goes. */
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

describe('the model of a page', () => {
  beforeAll(() => {
    vi.stubGlobal('crossOriginIsolated', false);
    vi.stubGlobal('navigator', { hardwareConcurrency: 2 });
  });

  const openIn = (host: ModelHost) =>
    host.open({ kind: 'files', name: 'any', files: new Map() }, undefined, () => undefined);

  it('is given back when the page goes while it opens', async () => {
    const models = new CountedModels();
    const host = new ModelHost(models);
    const opening = openIn(host);
    await host.close();
    await expect(opening).rejects.toMatchObject({ code: 'ABORTED' });
    expect(models.used).toBe(0);
  });

  it('is given back once where others were opened after it', async () => {
    const models = new CountedModels();
    const host = new ModelHost(models);
    await Promise.all([openIn(host), openIn(host), openIn(host)]);
    expect(models.used).toBe(1);
    await host.close();
    expect(models.used).toBe(0);
  });
});
