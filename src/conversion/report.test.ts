import { describe, expect, it } from 'vitest';
import { tinyLlama } from '../../test/models/tiny-llama.ts';
import { mixerPreset } from '../attention/presets.ts';
import { renderReport } from '../report/html.ts';
import type { Conversion } from './convert.ts';
import type { ConversionMeasures } from './measure.ts';
import { newProgress } from './progress-file.ts';
import { conversionCharts, conversionReport, conversionVerdict } from './report.ts';

const mixer = mixerPreset('window', { group: 4 });
const model = tinyLlama([mixer]);

/** A conversion of an original of perplexity 7.04, with the perplexities of its stages and on test text. */
function conversionTo(converted: number, stages: readonly number[], keptLayers: readonly number[] = []) {
  const progress = newProgress({ identity: 'x', keptLayers: [...keptLayers], sensitivity: [], original: 5.52 });
  for (const [at, perplexity] of stages.entries()) {
    const kept = at === 0 || perplexity < Math.min(...stages.slice(0, at));
    progress.stages.push({ name: `stage ${at}`, perplexity, seconds: 1, steps: 0, kept });
  }
  const conversion: Conversion = { model, parameters: new Map(), mixer, progress };
  const measures: ConversionMeasures = {
    perplexity: { original: 7.04, converted },
    ratioError: 0.004,
    ablation: [],
    positions: { original: [], converted: [] },
    recall: { original: [], converted: [] },
    memory: [],
    speed: { original: [], converted: [] },
    samples: [],
    agreement: {
      prompts: 8,
      tokens: 2,
      greedyLength: 1.5,
      sameNext: 0.99,
      kl: 0.0013,
      p: 0.04,
      positions: [{ from: 0, to: 0, sameNext: 0.99, kl: 0.0013 }],
    },
    extent: {
      testWindows: 3,
      testTokens: 96,
      positionWindows: 1,
      positionLength: 64,
      distances: [],
      probes: 2,
      prompts: 8,
      steps: 8,
      contexts: [],
      tokens: 500,
      seconds: 60,
      isCut: true,
    },
  };
  return { conversion, measures };
}

describe('the report of a conversion', () => {
  it('says of a bad one that it is bad, and what to try', async () => {
    const { conversion, measures } = conversionTo(11.42, [9.1, 9.00004, 9]);
    const charts = await conversionCharts(conversion, measures);
    const page = renderReport(conversionReport('tiny', conversion, measures, charts, 'linnet convert tiny --out x'));
    expect(page).toContain('<h2>Much worse than before: perplexity +62.2 %, at constant memory</h2>');
    expect(page).toContain('(+62.2 % ± 0.4 %, 96 tokens)');
    expect(page).toMatch(/To lose less: train for longer \(--budget\)/);
    expect(page).not.toContain('As good as');
    // There is no branch, and no section of them.
    expect(page).not.toContain('What each branch is worth');
    // Which text a number is of, at the number.
    expect(page).toContain('Perplexity after each stage against the original, on validation text');
    expect(page).toContain('On test text, which decided nothing');
    const decisions = [...page.matchAll(/<td>(yes|no|no change)<\/td><\/tr>/g)].map(([, word]) => word);
    expect(decisions).toEqual(['yes', 'yes', 'no change']);
    expect(page.match(/linnet convert tiny/g)).toHaveLength(1);
    // One window is not "1 windows".
    expect(page).toContain('windows of 64 tokens: 1<');
    expect(page).not.toMatch(/\b1 windows/);
  });

  it.each([
    ['other next tokens', { sameNext: 0.91 }],
    ['a KL beyond that of a harmless change', { p: 0.0007, kl: 0.0732 }],
  ])('does not call a conversion as good with %s', (_, agreement) => {
    const { conversion, measures } = conversionTo(6.9, []);
    const { headline } = conversionVerdict(conversion, {
      ...measures,
      agreement: { ...measures.agreement, ...agreement },
    });
    expect(headline).toMatch(/^Same perplexity, different text: same next token 9\d % of the time, KL/);
  });

  it('says that perplexity fell where it fell clearly', () => {
    const { conversion, measures } = conversionTo(4.58, []);
    const agreement = { ...measures.agreement, sameNext: 0.4 };
    const { headline } = conversionVerdict(conversion, { ...measures, agreement });
    expect(headline).toMatch(/^Perplexity −34.9 %, different text: same next token 40 % of the time, KL/);
  });

  it('advises where a stage of training was undone, with its share of the time', () => {
    const { conversion, measures } = conversionTo(6.9, [9, 9.5]);
    conversion.progress.stages[1].steps = 20;
    expect(conversionVerdict(conversion, measures).advice).toMatch(
      /^What did not help and was undone: stage 1, 50 % of the time/,
    );
  });

  it('lays stages against the original, and one far beyond the others at the end of the axis', async () => {
    const { conversion, measures } = conversionTo(7.1, [57.2, 9.1, 5.7684]);
    const { svg } = (await conversionCharts(conversion, measures)).stages;
    const figures = [...svg.matchAll(/>([+−][\d.,]+ % ?↑?)</g)].map(([, figure]) => figure);
    expect(figures).toEqual(expect.arrayContaining(['+936.23 % ↑', '+64.86 %', '+4.50 %']));
    expect(svg).not.toContain('>+800');
  });

  it.each([
    [6.9, [], /^As good as before, at constant memory$/, false],
    [7.1, [3], /^As good as before, with softmax in one layer$/, false],
    [7.3, [], /^Nearly as good as before: perplexity \+3.7 %, at constant memory$/, false],
    [8, [0, 1], /^Worse than before: perplexity \+13.6 %, with softmax in 2 layers$/, true],
  ])('of 7.04 → %d with softmax in %j', (converted, keptLayers, headline, hasAdvice) => {
    const { conversion, measures } = conversionTo(converted, [], keptLayers);
    const verdict = conversionVerdict(conversion, measures);
    expect(verdict.headline).toMatch(headline);
    expect(verdict.advice !== undefined).toBe(hasAdvice);
  });
});
