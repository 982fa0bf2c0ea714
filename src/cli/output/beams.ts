/** Beam search on the command line: continuations of a prompt, and how hypotheses are reported. */
import type { Hypothesis } from '../../engine/search/beam-search.ts';
import { beamMethod } from '../../engine/search/beam-method.ts';
import { Runner } from '../../engine/runner.ts';
import { LinnetError } from '../../errors.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { formatCount, formatNumber } from '../../report/quantities.ts';
import { TextStream } from '../../tokenizer/text-stream.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { CommandContext } from '../framework/context.ts';

function beamsJson(
  found: readonly Hypothesis[],
  textOf: (tokens: readonly number[]) => string,
): Record<string, unknown>[] {
  return found.map(({ tokens, score, logProbability }) => ({ text: textOf(tokens), tokens, score, logProbability }));
}

export interface BeamsRequest {
  /** Token ids, BOS included; empty where a text is read and another generated. */
  readonly prompt: readonly number[];
  /** The text that is read, of encoder-decoder models. */
  readonly source: readonly number[] | undefined;
  readonly tokenizer: Tokenizer | undefined;
  readonly maxTokens: number;
  readonly ignoreEos: boolean;
  readonly beams: number;
  readonly lengthPenalty: number;
}

export async function printBestBeam(
  context: CommandContext,
  engine: StepEngine,
  { prompt, source, tokenizer, beams, lengthPenalty, maxTokens, ignoreEos }: BeamsRequest,
): Promise<{ json: Record<string, unknown> }> {
  const textOf = (tokens: readonly number[]): string => {
    if (tokenizer === undefined) return '';
    const stream = new TextStream(tokenizer, prompt);
    return tokens.map((token) => stream.push(token)).join('') + stream.flush();
  };
  const started = performance.now();
  let found: readonly Hypothesis[] = [];
  const method = beamMethod(beams, {
    lengthPenalty,
    onFound: (hypotheses) => {
      found = hypotheses;
    },
  });
  const job = { prompt: { tokens: prompt, source }, maxTokens, ignoreEos, method, signal: context.signal };
  for await (const event of new Runner(engine).submit(job)) {
    if (event.type === 'end' && event.generation.finish === 'abort') {
      throw new LinnetError('ABORTED', 'beam search was stopped');
    }
  }
  const seconds = (performance.now() - started) / 1000;
  const [{ tokens, ended }] = found;
  const finish = ended ? 'eos' : 'length';
  context.stream(`${textOf(tokens)}\n`);
  context.note(
    `${formatCount(tokens.length)} tokens (${finish}), ${formatNumber(tokens.length / seconds, 3)} tokens/s, ` +
      `best of ${beams} beams`,
  );
  const reported = { text: textOf(tokens), tokens, finish, promptTokens: (source ?? prompt).length, seconds };
  return { json: { ...reported, beams: beamsJson(found, textOf) } };
}
