import { afterEach, expect, it, vi } from 'vitest';
import { ColumnModel } from './column-model.ts';
import { Server } from './server.ts';
import { defaultSettings } from './settings.ts';

afterEach(() => vi.unstubAllGlobals());

it.each([
  ['of the model, if its authors advise it', { temperature: 0.6, top_p: 0.9, top_k: 20 }, [0.6, 0.9, 20]],
  ['of all tokens, if only a temperature is advised', { temperature: 0.6, top_p: 1 }, [0.6, 1, 0]],
  ['of the page, if nothing is advised', { temperature: 1, top_p: 1 }, [0.8, 0.95, 40]],
])('a new column has the sampling %s', async (_, params, expected) => {
  const props = { model_alias: 'm', chat_template: '', default_generation_settings: { params } };
  vi.stubGlobal('fetch', () => Promise.resolve(Response.json(props)));
  const { chat, advised } = await new Server('', () => undefined).facts();
  const { snapshot, defaults } = new ColumnModel(1, chat, {}, advised);
  const { temperature, topP, topK, maxTokens } = snapshot.settings;
  expect([temperature, topP, topK]).toEqual(expected);
  expect(maxTokens).toBe(defaultSettings.maxTokens);
  expect(new ColumnModel(2, chat, { settings: { ...defaults, temperature: 0 } }, advised).snapshot.settings).toEqual({
    ...defaults,
    temperature: 0,
  });
});
