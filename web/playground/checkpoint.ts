/** A float32 model out of a checkpoint's files behind a URL: for graphs that are built in the tab. */
import { LinnetError } from '../../src/errors.ts';
import { requireFinite } from '../../src/checkpoint/finite.ts';
import { headerLength, LENGTH_FIELD_BYTES, parseHeader } from '../../src/checkpoint/safetensors/header.ts';
import { storedDType } from '../../src/checkpoint/safetensors/stored-dtypes.ts';
import { parseJsonObject } from '../../src/files/json-object.ts';
import { type Tensor, tensor } from '../../src/graph/tensor.ts';
import { describeCausalModel } from '../../src/models/families.ts';
import type { CausalModel } from '../../src/models/model.ts';
import { huggingFaceTokenizer } from '../../src/tokenizer/hugging-face.ts';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.ts';

/** A checkpoint in memory. */
export interface TabCheckpoint {
  readonly model: CausalModel;
  readonly parameters: ReadonlyMap<string, Tensor<'float32'>>;
  readonly tokenizer: Tokenizer;
}

/** Larger ones are not for a tab. */
const mostBytes = 512 * 2 ** 20;

/**
 * Fetches and checks `config.json`, `tokenizer.json`, `tokenizer_config.json` and `model.safetensors`.
 * @param folder URL, with a slash at its end
 * @throws LinnetError `NOT_FOUND` for a file that cannot be fetched, `FORMAT` for a malformed one, `TENSOR` for weights that
 *   are missing or not finite, `CONFIG` for a model that is not causal
 */
export async function fetchCheckpoint(folder: string): Promise<TabCheckpoint> {
  const fetched = async (name: string): Promise<Uint8Array<ArrayBuffer>> => {
    const url = new URL(name, folder);
    const response = await fetch(url).catch((cause: unknown) => {
      throw new LinnetError('NOT_FOUND', `${url.href} cannot be fetched`, { cause });
    });
    if (!response.ok) throw new LinnetError('NOT_FOUND', `${url.href}: the server answered ${response.status}`);
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (bytes.byteLength > mostBytes) throw new LinnetError('FORMAT', `${url.href} has more than ${mostBytes} bytes`);
    return bytes;
  };
  const names = ['config.json', 'tokenizer.json', 'tokenizer_config.json'];
  const [config, tokenizerJson, tokenizerConfigJson] = await Promise.all(
    names.map(async (name) => parseJsonObject(await fetched(name), name)),
  );
  const model = describeCausalModel(config);
  const parameters = parametersOf(model, await fetched('model.safetensors'));
  const tokenizer = huggingFaceTokenizer({
    ...{ tokenizerJson, tokenizerConfigJson, modelConfigJson: config },
    origin: new URL('tokenizer.json', folder).href,
  });
  return { model, parameters, tokenizer };
}

/** The tensors of a safetensors file that are parameters of the model, as float32. */
function parametersOf(model: CausalModel, file: Uint8Array<ArrayBuffer>): ReadonlyMap<string, Tensor<'float32'>> {
  const name = 'model.safetensors';
  const start = LENGTH_FIELD_BYTES + headerLength(file.subarray(0, LENGTH_FIELD_BYTES), file.byteLength, name);
  const header = parseHeader(file.subarray(LENGTH_FIELD_BYTES, start), file.byteLength - start, name);
  const parameters = new Map<string, Tensor<'float32'>>();
  for (const [stored, { dtype, shape, begin, byteLength }] of header.tensors) {
    const parameter = model.parameterName(stored);
    if (parameter === undefined || !model.parameters.has(parameter)) continue;
    const { toFloat32 } = storedDType(dtype);
    if (toFloat32 === undefined) throw new LinnetError('FORMAT', `${name}: tensor ${stored} is ${dtype}`);
    // A copy, so that its elements are aligned.
    const data = toFloat32(file.slice(start + begin, start + begin + byteLength));
    parameters.set(parameter, requireFinite(tensor('float32', shape, data), stored, name));
  }
  return parameters;
}
