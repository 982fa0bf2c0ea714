/**
 * Savings from reading shared prefixes once: MMLU-shaped work (one subject, five examples, four choices) in the `eval tasks`
 * scorer, with sharing and with every request read whole; tokens, seconds and processor seconds for both, and the tokens
 * that other caching schemes would read. The texts are synthetic: their content does not affect the measurement.
 *
 *   npx tsx bench/evaluation/shared-prefix.ts MODEL [questions, default 200] [of them read whole, default all] [words, default 24]
 *
 * If only some questions are read whole, their time is scaled to all by tokens.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EngineScorer } from '../../src/engine/scoring/engine-scorer.ts';
import { scoredSequence } from '../../src/engine/scoring/token-sequences.ts';
import { selectTasks } from '../../src/evaluation/tasks/registry.ts';
import { evaluateTasks, readTasks } from '../../src/evaluation/tasks/run.ts';
import { Random } from '../../src/random.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { openReady } from '../../test/open/ready-model.ts';

const [folder = 'assets/tiny-llama', questionsText = '200', wholeText = questionsText, wordsText = '24'] =
  process.argv.slice(2);
const questions = Number(questionsText);
const readWhole = Number(wholeText);
const words = Number(wordsText);
const subject = 'abstract_algebra';
/** Tokens per block in paged caches, which reread a partial block. */
const block = 16;

const random = new Random(1);
const vocabulary =
  'a of the girl boy dog sun tree red big happy ran saw day went to play with mom and was had new'.split(' ');
const phrase = (count: number): string =>
  Array.from({ length: count }, () => vocabulary[random.integer(vocabulary.length)]).join(' ');

async function writeRows(data: string, split: string, count: number): Promise<void> {
  const rows = Array.from({ length: count }, (_, row) => ({
    question: `${row} ${phrase(words)}?`,
    subject,
    choices: Array.from({ length: 4 }, () => phrase(Math.ceil(words / 6))),
    answer: random.integer(4),
  }));
  await writeFile(join(data, `${split}.jsonl`), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
}

const data = await mkdtemp(join(tmpdir(), 'linnet-shared-prefix-'));
try {
  const place = join(data, 'mmlu', subject);
  await mkdir(place, { recursive: true });
  await writeRows(place, 'dev', 5);
  await writeRows(place, 'test', questions);
  const selection = selectTasks([`mmlu_${subject}`], 'harness');
  const asked = { shots: 5, seed: 1234, limit: questions };
  await using loaded = await openReady(folder);
  const { engine } = loaded;
  const tokenizer = await loadTokenizer(loaded.opened.origin);
  const maxLength = 1 << 14;

  const [{ questions: read }] = await readTasks(selection, data, asked);
  const bos = new EngineScorer({ engine, tokenizer, maxLength }).bos;
  const sequences = read.map(({ requests }) =>
    requests.flatMap((request) =>
      request.type === 'loglikelihood'
        ? [Array.from(scoredSequence(tokenizer, request, { bos, maxLength }).tokens).slice(0, -1)]
        : [],
    ),
  );
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  const whole = sum(sequences.flat().map((tokens) => tokens.length));
  const cached = (unit: number): number => {
    let previous: readonly number[] = [];
    let total = 0;
    for (const tokens of sequences.flat()) {
      let shared = 0;
      while (shared < tokens.length - 1 && tokens[shared] === previous[shared]) shared++;
      total += tokens.length - Math.floor(shared / unit) * unit;
      previous = tokens;
    }
    return total;
  };

  const run = async (sharing: boolean, limit: number) => {
    const scorer = new EngineScorer({ engine, tokenizer, maxLength, sharing });
    const started = performance.now();
    const usedBefore = process.cpuUsage();
    const result = await evaluateTasks(selection, scorer, { ...asked, limit, data, bootstrapIterations: 0 });
    const seconds = (performance.now() - started) / 1000;
    const used = process.cpuUsage(usedBefore);
    const processorSeconds = (used.user + used.system) / 1e6;
    return {
      seconds,
      processorSeconds,
      tokens: scorer.usage.tokensRead,
      accuracy: result.tasks[0].summary.values['acc,none'],
    };
  };
  await run(true, 2);
  const shared = await run(true, questions);
  const alone = await run(false, readWhole);
  const sharedOfSame = readWhole === questions ? shared : await run(true, readWhole);
  const scale = whole / alone.tokens;
  const ofAll = { seconds: alone.seconds * scale, processorSeconds: alone.processorSeconds * scale };
  console.log(
    JSON.stringify(
      {
        model: folder,
        questions,
        requestTokens: whole,
        shared: { ...shared },
        whole: { questions: readWhole, ...alone, ofAll },
        sameAccuracy: alone.accuracy === sharedOfSame.accuracy,
        ratio: {
          tokens: whole / shared.tokens,
          seconds: ofAll.seconds / shared.seconds,
          processorSeconds: ofAll.processorSeconds / shared.processorSeconds,
        },
        others: {
          'harness, choices of one token share logits': sum(sequences.map(([first]) => first.length)),
          'prefix of the request before (llama.cpp)': cached(1),
          [`blocks of ${block} tokens`]: cached(block),
        },
      },
      null,
      2,
    ),
  );
} finally {
  await rm(data, { recursive: true, force: true });
}
