/**
 * Reads folders that MLX's converters wrote. They turn filters, store Qwen3.5's gains as 1 + w and split Granite 4 H's first
 * feed-forward matrix; other tensors equal the original's.
 * Source: `sanitize` of each model in mlx-lm and mlx-vlm.
 */
import { LinnetError } from '../errors.ts';
import type { JsonObject } from '../files/json-object.ts';
import { quoteName } from '../files/name-list.ts';
import { elementCount, type Tensor, tensor } from '../graph/tensor.ts';
import { JoinedWeights } from './joined-weights.ts';
import { type CodedMatrix, type CodedParts, onePiece, type WeightFile, type WeightInfo } from './weight-file.ts';

/** [channels, taps, 1]; originals have [channels, 1, taps]. */
function isTurned(name: string, { shape: [, taps, last] }: WeightInfo): boolean {
  return /\bconv(1d)?\.weight$/.test(name) && last === 1 && taps > 1;
}

/** Qwen3.5's gains that MLX stores as 1 + w: not DeltaNet's own. */
const gain = /(_layernorm|model\.norm|[qk]_norm)\.weight$/;

/** The original's names, by `model_type`. Two of Granite 4 H's have the same one, and come in alphabetical order. */
const originalNames: Readonly<Record<string, (name: string) => string>> = {
  granitemoehybrid: (name) =>
    name
      .replace(/\.mlp\.(gate|up)_proj\./, '.shared_mlp.input_linear.')
      .replace('.mlp.down_proj.', '.shared_mlp.output_linear.'),
  qwen3_5: (name) => name.replace(/^language_model\.model\./, 'model.language_model.').replace(/^language_model\./, ''),
  qwen3_5_text: (name) => name.replace(/^language_model\./, ''),
};

/**
 * Files as the original model has them: the same ones if MLX did not write them.
 * @throws LinnetError `CONFIG` for Falcon-H1, `TENSOR` for parts of one matrix that differ in their inputs
 */
export function originalFiles(
  { model_type: type }: JsonObject,
  path: string,
  files: readonly WeightFile[],
): readonly WeightFile[] {
  const all = new JoinedWeights(path, files);
  const turned = all.names().filter((name) => isTurned(name, all.info(name)));
  const nameOf = originalNames[String(type)] ?? ((name: string) => name);
  if (turned.length === 0 && all.names().every((name) => nameOf(name) === name)) return files;
  if (type === 'falcon_h1') {
    throw new LinnetError(
      'CONFIG',
      `${path} has the weights of MLX, which hold multipliers that config.json gives too; take the original model, or its GGUF`,
    );
  }
  const isCentred = turned.some((name) => name.endsWith('linear_attn.conv1d.weight'));
  // MLX reads no drafting layer, and other writers' gains in it are known to nobody.
  const kept = all.names().filter((name) => !name.startsWith('mtp.'));
  const sources = new Map<string, string[]>();
  for (const stored of kept.sort()) sources.set(nameOf(stored), [...(sources.get(nameOf(stored)) ?? []), stored]);
  return [original(all, sources, isCentred)];
}

const bytes = (length: number): Uint8Array => new Uint8Array(length);
const floats = (length: number): Float32Array => new Float32Array(length);

/** A part of several matrices as one. */
function stacked<T extends Uint8Array | Float32Array>(
  pieces: readonly CodedParts[],
  of: (piece: CodedParts) => T | undefined,
  room: (length: number) => T,
): T {
  const parts = pieces.flatMap((piece) => of(piece) ?? []);
  const all = room(parts.reduce((sum, { length }) => sum + length, 0));
  let end = 0;
  for (const part of parts) {
    all.set(part, end);
    end += part.length;
  }
  return all;
}

/** @param sources stored names by the model's, stacked by rows */
function original(all: JoinedWeights, sources: ReadonlyMap<string, readonly string[]>, isCentred: boolean): WeightFile {
  const sourcesOf = (name: string): readonly string[] => sources.get(name) ?? [name];
  const isGain = (name: string): boolean => isCentred && gain.test(name) && all.info(name).shape.length === 1;
  function info(name: string): WeightInfo {
    const parts = sourcesOf(name).map((one) => all.info(one));
    const [first, ...others] = parts;
    const [rows, ...rest] = first.shape;
    if (isTurned(name, first)) return { ...first, shape: [rows, rest[1], rest[0]] };
    if (others.length === 0) return first;
    const sum = (of: (one: WeightInfo) => number): number => parts.reduce((total, one) => total + of(one), 0);
    if (others.every(({ dtype, shape: [, ...own] }) => dtype === first.dtype && String(own) === String(rest))) {
      return { ...first, shape: [sum(({ shape }) => shape[0]), ...rest], byteLength: sum((one) => one.byteLength) };
    }
    const given = parts.map(({ dtype, shape }) => `${dtype} [${shape.join(',')}]`).join(' and ');
    throw new LinnetError(
      'TENSOR',
      `${all.path}: the parts of ${quoteName(name)} are ${given}; expected equal inputs and types`,
    );
  }
  async function readFloat32(name: string): Promise<Tensor<'float32'>> {
    const { shape } = info(name);
    const data = new Float32Array(elementCount(shape));
    let end = 0;
    for (const one of sourcesOf(name)) {
      const { data: part } = await all.readFloat32(one);
      data.set(isGain(one) ? part.map((value) => value - 1) : part, end);
      end += part.length;
    }
    return tensor('float32', shape, data);
  }
  function codes(name: string): CodedMatrix | undefined {
    const parts = sourcesOf(name).flatMap((one) => all.codes(one) ?? []);
    const [first, ...others] = parts;
    if (others.length === 0 || parts.length < sourcesOf(name).length) return first;
    if (others.some(({ form }) => JSON.stringify(form) !== JSON.stringify(first.form))) return undefined;
    return {
      ...first,
      outputs: parts.reduce((sum, { outputs }) => sum + outputs, 0),
      async *pieces() {
        const pieces: CodedParts[] = [];
        for (const part of parts) for await (const piece of part.pieces(part.outputs)) pieces.push(piece);
        yield {
          codes: stacked(pieces, ({ codes }) => codes, bytes),
          scales: stacked(pieces, ({ scales }) => scales, floats),
          ...(first.form.minima && {
            minima: stacked(pieces, ({ minima }) => minima, floats),
            zeros: stacked(pieces, ({ zeros }) => zeros, bytes),
            rest: stacked(pieces, ({ rest }) => rest, floats),
          }),
        };
      },
    };
  }
  function storedAs(name: string): string | undefined {
    const [one, ...others] = sourcesOf(name);
    return others.length > 0 || isGain(one) ? undefined : one;
  }
  return {
    version: all.version,
    names: () => [...sources.keys()],
    info,
    readFloat32,
    float32Rows(name) {
      const stored = storedAs(name);
      const pieces = stored === undefined ? onePiece(() => readFloat32(name)) : all.float32Rows(stored).pieces;
      return { shape: info(name).shape, pieces };
    },
    codes,
    place(name) {
      const stored = storedAs(name);
      return stored === undefined ? undefined : all.place(stored);
    },
    async *chunks(name, buffer) {
      for (const one of sourcesOf(name)) yield* all.chunks(one, buffer);
    },
    isFinite: (name, chunk) => sourcesOf(name).every((one) => all.isFinite(one, chunk)),
    close: () => all.close(),
  };
}
