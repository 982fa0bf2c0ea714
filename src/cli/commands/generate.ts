/** `linnet generate`: continues a text, with a session file that a later run takes up again. */
import { existsSync } from 'node:fs';
import type { z } from 'zod';
import { readTextFile } from '../../data/files/text-file.ts';
import type { PromptInput } from '../../engine/prompt.ts';
import { type Session, TextPieces } from '../../engine/session.ts';
import type { Generation, TextEvent } from '../../engine/text-job.ts';
import { type JobOptions, samplingOver } from '../../engine/text-options.ts';
import { LinnetError, OptionsError } from '../../errors.ts';
import { type JsonObject, parseJsonObject } from '../../files/json-object.ts';
import { open } from '../../open/index.ts';
import { writerKinds } from '../../open/opened-model.ts';
import { weightTypes } from '../../quantization/sources.ts';
import { silentProgress } from '../../report/progress.ts';
import { formatBytes, formatCount, formatNumber } from '../../report/quantities.ts';
import { defineCommand, engineOptions, flag, optional, repeated, withDefault, settings } from '../framework/command.ts';
import type { CommandContext } from '../framework/context.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { choice, decimal, filePath, integer, seed32, text } from '../framework/option-values.ts';
import { fetchedModel } from '../options/hub-options.ts';
import { modelNamed } from '../options/model-options.ts';
import { promptOptions, promptSource } from '../options/prompt-options.ts';
import { samplingOptions } from '../options/sampling-options.ts';
import {
  describeSpeculation,
  openDrafting,
  type Speculation,
  speculationJson,
  speculationOptions,
  speculationSoFar,
} from '../options/speculation-options.ts';
import { memoryOption } from '../options/memory-option.ts';
import { answerStream } from '../output/answer-stream.ts';
import { printBestBeam } from '../output/beams.ts';

const generateOptions = {
  ...promptOptions,
  maxTokens: withDefault(integer(1, 1 << 30), 128, 'maximum number of tokens to generate'),
  ...samplingOptions,
  seed: withDefault(seed32, 0, 'random seed; a restored session keeps its own'),
  stop: repeated(text, 'stop before this text; may be repeated'),
  jsonSchema: optional(filePath, 'JSON schema to follow; the text ends with the JSON'),
  session: optional(filePath, 'session file to continue and save'),
  dtype: optional(
    choice(weightTypes),
    'quantize a checkpoint on load: f16, w8a8 or int4, as export stores them; w8a8 and int4 weights of two billion ' +
      'parameters or more are cached in ~/.cache/linnet (default: f32)',
  ),
  ...speculationOptions,
  ...engineOptions,
  ...settings({
    beams: withDefault(
      integer(1, 256),
      1,
      'hypotheses of a beam search, which prints its best text at the end; 1 turns it off',
    ),
    memory: memoryOption,
    ignoreEos: flag("do not stop at the model's EOS token"),
    lengthPenalty: withDefault(
      decimal(-10, 10),
      1,
      'exponent of the length that divides beam scores; higher favors longer texts',
    ),
  }),
};
type GenerateValues = z.output<z.ZodObject<typeof generateOptions>>;

export const generateCommand = defineCommand({
  description:
    'Continues a prompt and streams the text. A text prompt gets a BOS token if the tokenizer adds one; token ids are read as given; without a prompt, ' +
    "the text starts after BOS. --chat sends the prompt as a user message through the model's chat template. --session restores the state from a file, " +
    'if it exists, and saves it at the end, even after Ctrl-C; a prompt then continues the saved text. --speculate drafts several tokens per step ' +
    'without changing the text, unless --acceptance allows it (with int4 and w8a8, only if "linnet inspect" reports the same bits). --json-schema ' +
    'constrains the text to JSON of that schema. --beams prints the best text of a beam search. T5 reads the prompt and writes another text. The last ' +
    'line break of a piped prompt is dropped.',
  examples: [
    'linnet generate linnet:tiny-llama --prompt "Once upon a time" --max-tokens 100',
    'linnet generate runs/augmented --prompt "Call me" --temperature 0.8 --top-p 0.95 --seed 7 --stop "."',
    'linnet generate runs/augmented --session talk.session --prompt " And then" --json',
    'echo "Once upon a time" | linnet generate runs/augmented',
    'linnet generate models/chat --chat --prompt "Why is the sky blue?" --system "Be brief."',
    'linnet generate runs/augmented --prompt-tokens 1,403,407 --max-tokens 20 --json',
    'linnet generate runs/augmented --prompt "Once upon a time" --speculate lookup',
    'linnet generate linnet:tiny-llama --prompt "Once upon a time" --beams 4 --length-penalty 0.6',
    'linnet generate runs/augmented --prompt "A whale as JSON: " --json-schema whale.schema.json',
    'linnet generate HuggingFaceTB/SmolLM2-135M --prompt "Once upon a time" --dtype w8a8',
    'linnet generate models/t5-small --prompt "summarize: It was a dark night." --beams 4',
  ],
  arguments: { model: modelNamed },
  options: generateOptions,
  writes: ['session'],
  async run(context, options) {
    const prompt = promptSource(options, context);
    const { device, threads, dtype, memory, maxTokens, ignoreEos, jsonSchema, stop, session: file } = options;
    const compile = { device, threads };
    if (options.beams > 1) refuseForBeams(options);
    const folder = await fetchedModel(context, options.model, options);
    await using model = await open(folder, { kind: writerKinds, ...compile, dtype, memory });
    // A folder without a tokenizer can be given token ids.
    const needsTokenizer = !['tokens', 'none'].includes(prompt.kind) || stop.length > 0 || jsonSchema !== undefined;
    const tokenizer = needsTokenizer || model.hasTokenizer ? model.tokenizer : undefined;
    if (options.chat && model.template === undefined) {
      throw new LinnetError('CONFIG', `${model.origin} has no chat template; leave out --chat to continue the prompt`);
    }
    const input = await prompt.input();
    const bos = options.parseSpecial ? false : undefined;
    const session = model.session();
    if (options.beams > 1) {
      const { beams, lengthPenalty } = options;
      return await printBestBeam(context, session, input, tokenizer, {
        beams,
        lengthPenalty,
        bos,
        maxTokens,
        ignoreEos,
      });
    }
    await using drafting = await openDrafting(options, model, compile);
    const speculation = drafting?.start();
    const isResumed = file !== undefined && existsSync(file);
    if (isResumed) {
      await session.load(file);
      if (model.kind === 'encoder-decoder' && prompt.kind !== 'none') {
        throw new UsageError('the session already has its input text; leave out the prompt to continue its output');
      }
      if (options.chat) {
        throw new UsageError('--chat begins a conversation; continue one with "linnet chat --session"');
      }
    }
    const generation = await printText(context, session, input, speculation, {
      ...samplingOver(options, {}),
      maxTokens,
      stop,
      ignoreEos,
      thinkingBudget: options.thinking,
      jsonSchema: jsonSchema === undefined ? undefined : await schemaIn(jsonSchema),
      method: speculation?.method,
      signal: context.signal,
      bos,
    });
    if (file !== undefined) await session.save(file);
    if (generation.finish === 'abort') throw stopped(generation, file);
    const { thoughts, tokens, tokensPerSecond, steps, finish, prefillSeconds, decodeSeconds, state } = generation;
    const speed = `${formatNumber(tokensPerSecond, 3)} tokens/s`;
    context.note(
      `${formatCount(tokens.length)} tokens (${finish}), ${speed}, state ${formatBytes(state.bytes + state.sourceBytes)}`,
    );
    if (speculation !== undefined) context.note(describeSpeculation(speculation));
    const source = isResumed ? undefined : state.encoded;
    return {
      json: {
        text: generation.text,
        thoughts,
        tokens,
        tokensPerSecond,
        steps,
        finish,
        promptTokens: source?.tokens.length ?? generation.promptTokens,
        prefillSeconds,
        decodeSeconds,
        seconds: prefillSeconds + decodeSeconds,
        stateBytes: state.bytes,
        ...(state.encoded && { sourceBytes: state.sourceBytes }),
        session: file ?? null,
        ...(speculation && speculationJson(speculation)),
      },
    };
  },
});

async function schemaIn(file: string): Promise<JsonObject> {
  return parseJsonObject(Buffer.from(await readTextFile(file)), file);
}

/** @throws OptionsError for options that beam search cannot serve: it keeps several texts, and returns them when all have ended */
function refuseForBeams({ session, jsonSchema, speculate, stop, temperature }: GenerateValues): void {
  const ofOneText = { session, jsonSchema, speculate: speculate === 'off' ? undefined : speculate, stop: stop.at(0) };
  const [option] = Object.entries(ofOneText).find(([, value]) => value !== undefined) ?? [];
  if (option !== undefined) {
    throw new OptionsError(`\`${option}\` does not work with a beam search; leave out \`beams\` or \`${option}\``);
  }
  if (temperature !== undefined && temperature > 0)
    throw new OptionsError('`beams` searches and `temperature` samples; give one of them');
}

/**
 * Streams the text as it comes; the prompt's progress goes before it. Next to a text that does not appear on the
 * terminal itself (`--json`, a file or a pipe) a line shows progress and the statistics of speculation.
 */
async function printText(
  context: CommandContext,
  session: Session,
  input: PromptInput,
  speculation: Speculation | undefined,
  options: JobOptions & { readonly maxTokens: number },
): Promise<Generation> {
  const progress = context.progress('prompt', 'tokens');
  const decoding = context.streamsToTerminal ? silentProgress : context.progress('generate', 'tokens');
  let tokens = 0;
  const onEvent = (event: TextEvent): void => {
    if (event.type === 'prompt') {
      progress.update(event.done, event.total);
      if (event.done === event.total) progress.finish();
    } else if (event.type === 'tokens') {
      tokens += event.tokens.length;
      decoding.update(tokens, options.maxTokens, speculation && speculationSoFar(speculation));
    }
  };
  const pieces = new TextPieces(session, input, { ...options, onEvent });
  const show = answerStream(context);
  for await (const part of pieces.parts()) show(part);
  decoding.finish();
  context.stream('\n');
  return pieces.generation;
}

function stopped({ tokens }: Generation, session: string | undefined): LinnetError {
  const resume =
    session === undefined
      ? 'to continue after an interruption, give --session FILE'
      : `the session is saved; to continue, give the same command with --session ${session} and no prompt`;
  return new LinnetError('ABORTED', `stopped after ${tokens.length} tokens; ${resume}`);
}
