/** `linnet generate` with a model that reads one text and writes another. */
import { openCheckpoint } from '../checkpoint/huggingface.ts';
import { type LoadedModel, loadModel } from '../checkpoint/load-model.ts';
import { Sampler, type SamplerInput } from '../decoding/sampler.ts';
import { T5Decoder } from '../decoding/t5-decoder.ts';
import { writeByBeams, writeTexts } from '../decoding/t5-writer.ts';
import { LinnetError } from '../errors.ts';
import { isExportedFolder } from '../export/open-export.ts';
import { describeModel } from '../models/families.ts';
import type { EncoderDecoderModel } from '../models/model.ts';
import { formatCount, formatNumber } from '../report/quantities.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { beamsJson } from './output/beams.ts';
import type { CommandContext } from './framework/context.ts';

/** The model of a folder, if it is one that reads a text and writes another. Its configuration alone is read otherwise. */
export async function openWriter(folder: string): Promise<LoadedModel<EncoderDecoderModel> | undefined> {
  if (await isExportedFolder(folder)) return undefined;
  const checkpoint = await openCheckpoint(folder);
  let kind: string;
  try {
    ({ kind } = describeModel(checkpoint.config));
  } finally {
    await checkpoint.close();
  }
  if (kind !== 'encoder-decoder') return undefined;
  const loaded = await loadModel(folder);
  return loaded.model.kind === 'encoder-decoder' ? { ...loaded, model: loaded.model } : undefined;
}

export interface WritingRequest {
  readonly loaded: LoadedModel<EncoderDecoderModel>;
  /** The text to read; EOS is added where it is missing. */
  readonly prompt: readonly number[];
  readonly tokenizer: Tokenizer | undefined;
  readonly maxTokens: number;
  readonly ignoreEos: boolean;
  readonly sampler: SamplerInput;
  readonly beams: number;
  readonly lengthPenalty: number;
  readonly compile: CompileOptions;
}

/** Reads a prompt and prints what the model writes about it. */
export async function writeAbout(
  context: CommandContext,
  request: WritingRequest,
): Promise<{ json: Record<string, unknown> }> {
  const { loaded, tokenizer, maxTokens, ignoreEos, beams, lengthPenalty } = request;
  const [eos] = loaded.model.eosIds;
  const prompt = eos === undefined || request.prompt.at(-1) === eos ? request.prompt : [...request.prompt, eos];
  const textOf = (tokens: readonly number[]): string => tokenizer?.decode(tokens) ?? '';
  await using decoder = await T5Decoder.create(loaded.model, loaded.parameters, request.compile);
  const started = performance.now();
  const { signal } = context;
  let tokens: readonly number[];
  let finish: string;
  let scored: Record<string, unknown> = {};
  if (beams > 1) {
    const [found] = await writeByBeams(decoder, [prompt], beams, {
      maxTokens,
      ignoreEos,
      lengthPenalty,
      best: beams,
      signal,
    });
    const [best] = found;
    tokens = best.tokens;
    finish = best.ended ? 'eos' : 'length';
    scored = { beams: beamsJson(found, textOf) };
  } else {
    const sampler = new Sampler(request.sampler);
    const [written] = await writeTexts(decoder, [prompt], { maxTokens, ignoreEos, sampler, signal });
    ({ tokens, finish } = written);
  }
  if (finish === 'abort') throw new LinnetError('ABORTED', `stopped after ${tokens.length} tokens`);
  const seconds = (performance.now() - started) / 1000;
  context.stream(`${textOf(tokens)}\n`);
  context.note(
    `${formatCount(tokens.length)} tokens (${finish}), ${formatNumber(tokens.length / seconds, 3)} tokens/s`,
  );
  return { json: { text: textOf(tokens), tokens, finish, promptTokens: prompt.length, seconds, ...scored } };
}
