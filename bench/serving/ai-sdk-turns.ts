/**
 * Time to the first token in every turn of a conversation, through the AI SDK provider in this process:
 *
 *   npx tsx bench/serving/ai-sdk-turns.ts [MODEL …] [--turns 20] [--tokens 8192] [--answer 32] [--rounds 5] [--threads 1]
 *
 * The conversation ends at `tokens` tokens, with an equal share new in each turn, and every call sends it from the beginning,
 * as SDK clients do. Each round is a new conversation; times are medians over rounds, in wall-clock and processor
 * time, which other work on the machine disturbs less. The last lines are
 * rows of the table in docs/notes/serving.md.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type ModelMessage, streamText } from 'ai';
import { linnet } from '../../src/ai-sdk/index.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    turns: { type: 'string', default: '20' },
    tokens: { type: 'string', default: '8192' },
    answer: { type: 'string', default: '32' },
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: '1' },
  },
});
const { turns, tokens, answer, rounds, threads } = Object.fromEntries(
  Object.entries(values).map(([name, value]) => [name, Number(value)]),
);
const folders = positionals.length > 0 ? positionals : ['assets/tiny-llama'];
// Messages end with EOS, as published models end them with a control token.
const chatTemplate =
  '{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}{{ eos_token }}{% endfor %}<|assistant|>\n';
const book = readdirSync('docs')
  .filter((name) => name.endsWith('.md'))
  .map((name) => readFileSync(`docs/${name}`, 'utf8'))
  .join('\n');

/** Milliseconds to an answer's first piece. */
interface First {
  readonly clock: number;
  readonly processor: number;
}

/** The first pieces of all answers, and the length of the last prompt in tokens. */
async function converse(model: ReturnType<typeof linnet>, texts: readonly string[]) {
  const messages: ModelMessage[] = [];
  const times: First[] = [];
  let [total, known] = [0, 0];
  for (const content of texts) {
    messages.push({ role: 'user', content });
    const [started, before] = [performance.now(), process.cpuUsage()];
    const result = streamText({ model, messages, maxOutputTokens: answer, temperature: 1, seed: 1 });
    let text = '';
    const first = (): First => {
      const { user, system } = process.cpuUsage(before);
      return { clock: performance.now() - started, processor: (user + system) / 1000 };
    };
    let came: First | undefined;
    for await (const piece of result.textStream) {
      came ??= first();
      text += piece;
    }
    times.push(came ?? first());
    const { inputTokens = 0, inputTokenDetails } = await result.usage;
    [total, known] = [inputTokens, inputTokenDetails.cacheReadTokens ?? 0];
    messages.push({ role: 'assistant', content: text });
  }
  return { times, total, known };
}

const median = (of: readonly number[]): number => [...of].sort((a, b) => a - b)[of.length >> 1];

const rows: string[] = [];
for (const folder of folders) {
  const tokenizer = await loadTokenizer(folder);
  const ids = Array.from(tokenizer.encode(book));
  const size = Math.floor(tokens / turns) - answer - 6;
  await using model = linnet(folder, { chatTemplate, threads });
  const measured: Awaited<ReturnType<typeof converse>>[] = [];
  for (let round = 0; round <= rounds; round++) {
    // The first one includes compilation.
    const texts = Array.from({ length: round === 0 ? 1 : turns }, (_, turn) => {
      const from = ((round * turns + turn) * size) % (ids.length - size);
      // Later turns also read the previous answer, whose text may encode to other tokens than the model wrote.
      return `${round} ${tokenizer.decode(ids.slice(from, from + size + (turn === 0 ? answer : 0)))}`;
    });
    const talk = await converse(model, texts);
    if (round > 0) measured.push(talk);
    console.log(`${folder}, round ${round}: ${talk.times.map(({ clock }) => clock.toFixed(0)).join(' ')} ms`);
  }
  const at = (turn: number, by: keyof First): number => median(measured.map(({ times }) => times[turn][by]));
  const { total, known } = measured[measured.length - 1];
  const both = (show: (by: keyof First) => string): string => `${show('clock')}, ${show('processor')}`;
  const cells = [
    `${total} (${known} known)`,
    ...[0, turns - 1].map((turn) => both((by) => at(turn, by).toFixed(1))),
    both((by) => (at(turns - 1, by) / at(0, by)).toFixed(2)),
  ];
  rows.push(`| ${folder} | ${cells.join(' | ')} |`);
}
console.log(
  `| model | tokens of turn ${turns} | turn 1, ms by the clock and of the processor | turn ${turns} | ratio |\n|---|---|---|---|---|\n${rows.join('\n')}`,
);
