/** LLaMA (arXiv 2302.13971, 2307.09288, 2407.21783), the plainest variant of the decoder. */
import { decoderModel } from '../decoder/model.ts';
import type { CausalModel } from '../../model.ts';
import { parseLlamaConfig } from './config.ts';

/** The model of a config.json. @throws LinnetError `CONFIG` as `parseLlamaConfig` does */
export function llamaModel(json: Readonly<Record<string, unknown>>): CausalModel {
  return decoderModel(parseLlamaConfig(json), llamaModel);
}
