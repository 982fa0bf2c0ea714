/**
 * Plain nouns in comments: phrases that stand for a noun ("what there is", "those of", "of which", "Of …" at the start) cost a
 * second reading. A line with one of them is counted; the count of a folder may only shrink. CONTRIBUTING says what to write.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const source = fileURLToPath(new URL('../../src', import.meta.url));

const phrases = new RegExp(
  [
    String.raw`\bwhat (is|was|are|there|it|they|this|that|these|one|an?|the|every|each|a)\b`,
    String.raw`\b(that|those) of (the|an?|this|each|every|all|its)\b`,
    String.raw`\bwhoever\b|\bwhatever (is|it|there)\b`,
    String.raw`\bso (many|much)\b(?! (as|that))`,
    String.raw`\bcomes? to\b|\bof the day\b|\bis to be\b|\bthere is of\b`,
    String.raw`\bof which\b`,
  ].join('|'),
  'i',
);

const beginning = /^\s*(\/\*\*|\/\/) (As of|Of)\b/;

/** Lines of each folder that had such a phrase when it was last counted. */
const most: Readonly<Record<string, number>> = {
  attention: 0,
  browser: 0,
  checkpoint: 0,
  cli: 0,
  conversion: 0,
  data: 0,
  decoding: 0,
  engine: 0,
  evaluation: 0,
  export: 0,
  files: 0,
  graph: 0,
  jobs: 0,
  models: 0,
  nn: 0,
  open: 0,
  quantization: 0,
  redis: 0,
  report: 0,
  runs: 0,
  runtime: 0,
  serving: 0,
  studies: 0,
  tokenizer: 0,
  training: 0,
  'errors.ts': 0,
  'web.ts': 0,
  'index.ts': 0,
  'random.ts': 0,
  'web-training.ts': 0,
};

/** Comment lines of a file with such a phrase. */
function avoidingLines(text: string): string[] {
  return text
    .split('\n')
    .filter((line) => /^\s*(\/\*\*|\*|\/\/)/.test(line) && (phrases.test(line) || beginning.test(line)));
}

const counts = new Map<string, number>();
for (const entry of readdirSync(source, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !entry.name.endsWith('.ts') || /\.test\.ts$|_pb\.ts$/.test(entry.name)) continue;
  const path = join(entry.parentPath, entry.name);
  const [folder] = path.slice(source.length + 1).split('/');
  counts.set(folder, (counts.get(folder) ?? 0) + avoidingLines(readFileSync(path, 'utf8')).length);
}

describe('comments', () => {
  it('name things by nouns: no folder has more lines that avoid one', () => {
    const more = [...counts].filter(([folder, count]) => count > (most[folder] ?? 0));
    expect(more).toEqual([]);
  });
});
