/** Beam search on the command line: continuations of a prompt, and how hypotheses are reported. */
import type { PromptInput } from '../../engine/prompt.ts';
import { beamMethod, type Hypothesis } from '../../engine/search/beam-search.ts';
import type { Session } from '../../engine/session.ts';
import type { Generation } from '../../engine/text-job.ts';
import type { JobOptions } from '../../engine/text-options.ts';
import { LinnetError } from '../../errors.ts';
import { formatCount, formatNumber } from '../../report/quantities.ts';
import { TextStream } from '../../tokenizer/text-stream.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { CommandContext, CommandResult } from '../framework/context.ts';

interface BeamOptions extends Pick<JobOptions, 'bos' | 'maxTokens' | 'ignoreEos'> {
  readonly beams: number;
  readonly lengthPenalty: number;
}

/** @param session an empty one */
export async function printBestBeam(
  context: CommandContext,
  session: Session,
  input: PromptInput,
  tokenizer: Tokenizer | undefined,
  { beams, lengthPenalty, ...bounds }: BeamOptions,
): Promise<CommandResult> {
  const started = performance.now();
  let hypotheses: readonly Hypothesis[] = [];
  let generation: Generation | undefined;
  const method = beamMethod(beams, {
    lengthPenalty,
    onFound: (best) => {
      hypotheses = best;
    },
  });
  for await (const event of session.run(input, { ...bounds, method, signal: context.signal })) {
    if (event.type === 'end') ({ generation } = event);
  }
  if (generation === undefined || generation.finish === 'abort') {
    throw new LinnetError('ABORTED', 'beam search was stopped');
  }
  const { promptTokens, state } = generation;
  const prompt = session.tokens.slice(0, promptTokens);
  const textOf = (tokens: readonly number[]): string => {
    if (tokenizer === undefined) return '';
    const stream = new TextStream(tokenizer, prompt);
    return tokens.map((token) => stream.push(token)).join('') + stream.flush();
  };
  const seconds = (performance.now() - started) / 1000;
  const [{ tokens, ended }] = hypotheses;
  const finish = ended ? 'eos' : 'length';
  const text = textOf(tokens);
  context.stream(`${text}\n`);
  const speed = `${formatNumber(tokens.length / seconds, 3)} tokens/s`;
  context.note(`${formatCount(tokens.length)} tokens (${finish}), ${speed}, best of ${beams} beams`);
  return {
    json: {
      text,
      tokens,
      finish,
      promptTokens: state.encoded?.tokens.length ?? promptTokens,
      seconds,
      beams: hypotheses.map(({ tokens: ids, score, logProbability }) => {
        return { text: textOf(ids), tokens: ids, score, logProbability };
      }),
    },
  };
}
