/** Beam search on the command line: continuations of a prompt, and how hypotheses are reported. */
import { beamMethod, type Hypothesis } from '../../engine/search/beam-search.ts';
import { Runner } from '../../engine/runner.ts';
import { LinnetError } from '../../errors.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { formatCount, formatNumber } from '../../report/quantities.ts';
import { TextStream } from '../../tokenizer/text-stream.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import type { Prompt } from '../../engine/prompt.ts';
import type { CommandContext, CommandResult } from '../framework/context.ts';

interface BeamOptions {
  readonly maxTokens: number;
  readonly ignoreEos: boolean;
  readonly beams: number;
  readonly lengthPenalty: number;
}

export async function printBestBeam(
  context: CommandContext,
  engine: StepEngine,
  prompt: Prompt,
  tokenizer: Tokenizer | undefined,
  { beams, lengthPenalty, maxTokens, ignoreEos }: BeamOptions,
): Promise<CommandResult> {
  const textOf = (tokens: readonly number[]): string => {
    if (tokenizer === undefined) return '';
    const stream = new TextStream(tokenizer, prompt.tokens);
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
  const job = { prompt, maxTokens, ignoreEos, method, signal: context.signal };
  for await (const event of new Runner(engine).submit(job)) {
    if (event.type === 'end' && event.generation.finish === 'abort') {
      throw new LinnetError('ABORTED', 'beam search was stopped');
    }
  }
  const seconds = (performance.now() - started) / 1000;
  const [{ tokens, ended }] = found;
  const finish = ended ? 'eos' : 'length';
  context.stream(`${textOf(tokens)}\n`);
  const speed = `${formatNumber(tokens.length / seconds, 3)} tokens/s`;
  context.note(`${formatCount(tokens.length)} tokens (${finish}), ${speed}, best of ${beams} beams`);
  const reported = {
    text: textOf(tokens),
    tokens,
    finish,
    promptTokens: (prompt.source ?? prompt.tokens).length,
    seconds,
  };
  const hypotheses = found.map(({ tokens: ids, score, logProbability }) => {
    return { text: textOf(ids), tokens: ids, score, logProbability };
  });
  return { json: { ...reported, beams: hypotheses } };
}
