/** An exported name, types included, is declared once in src and web: a reader who knows it from one file knows it in all. */
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { type SourceFile, sourceFiles } from '../../scripts/source-tree.ts';

/** Names that are still declared more than once, with their number of declarations. This list may only become shorter. */
const declaredOften: Readonly<Record<string, number>> = {
  AnsweredQuestion: 2,
  App: 3,
  ChartLine: 2,
  ChatMessage: 2,
  ChatTemplate: 2,
  ClassifiedTexts: 2,
  Column: 2,
  ContinuationScore: 2,
  Conversation: 2,
  Curve: 2,
  EncodeOptions: 2,
  ErrorReport: 2,
  Generation: 2,
  HeldOutText: 2,
  InitialValues: 2,
  JsonValue: 2,
  MeasureOptions: 2,
  Metric: 2,
  MetricValue: 2,
  ModelSource: 2,
  Outcome: 2,
  Pace: 2,
  PairOptions: 2,
  Progress: 2,
  Question: 2,
  Reading: 2,
  Run: 2,
  RunCurves: 2,
  RunDescription: 2,
  RunList: 2,
  SamplingContext: 2,
  SamplingFields: 2,
  SaveOptions: 2,
  Speculation: 2,
  StepOutput: 2,
  TextOptions: 2,
  TokenTree: 2,
  TokenTrie: 2,
  TrainingOptions: 2,
  TreeLayout: 2,
  attentionPrefix: 2,
  biasTableName: 2,
  blockOption: 2,
  blockPrefix: 2,
  checkModel: 2,
  choice: 2,
  detokenize: 2,
  distill: 2,
  finetune: 2,
  folderOf: 2,
  glueTasks: 2,
  identityOf: 2,
  joinBlocks: 2,
  layoutTree: 2,
  listNames: 2,
  longestLength: 2,
  lossGraph: 2,
  mean: 2,
  modelsOf: 2,
  only: 2,
  open: 2,
  optional: 2,
  positionsBeyondContext: 2,
  pretrain: 2,
  randomTree: 2,
  readChatTemplate: 2,
  readTree: 2,
  readsWholeTexts: 2,
  requireCount: 2,
  summarize: 3,
  tensorBytes: 2,
  text: 2,
  tokenIds: 2,
  work: 2,
};

/** Names that a file declares and exports. */
function declaredNames({ path, text }: SourceFile): Set<string> {
  const names = new Set<string>();
  for (const statement of ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true).statements) {
    if (ts.isExportDeclaration(statement) && !statement.moduleSpecifier && statement.exportClause) {
      if (ts.isNamedExports(statement.exportClause)) {
        for (const { name } of statement.exportClause.elements) names.add(name.text);
      }
    }
    if (!ts.canHaveModifiers(statement)) continue;
    if (!ts.getModifiers(statement)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)) continue;
    if (ts.isVariableStatement(statement)) {
      for (const { name } of statement.declarationList.declarations) if (ts.isIdentifier(name)) names.add(name.text);
    } else if ('name' in statement && statement.name !== undefined && ts.isIdentifier(statement.name)) {
      names.add(statement.name.text);
    }
  }
  return names;
}

/** The files that declare each name, for names of several files. */
function repeatedNames(files: readonly SourceFile[]): Map<string, string[]> {
  const places = new Map<string, string[]>();
  for (const file of files) {
    for (const name of declaredNames(file)) places.set(name, [...(places.get(name) ?? []), file.path]);
  }
  return new Map([...places].filter(([, paths]) => paths.length > 1));
}

describe('exported names', () => {
  const repeated = repeatedNames([...sourceFiles('src'), ...sourceFiles('web')]);

  it('are declared once', () => {
    const wrong = [...repeated]
      .filter(([name, paths]) => paths.length > (declaredOften[name] ?? 1))
      .map(([name, paths]) => `${name}: ${paths.join(', ')}`);
    expect(wrong).toEqual([]);
  });

  it('leave the list of repeated ones as soon as they are declared once', () => {
    const listed = Object.entries(declaredOften).filter(([name, count]) => (repeated.get(name)?.length ?? 1) < count);
    expect(listed.map(([name]) => name)).toEqual([]);
  });
});

describe('the rule itself', () => {
  const repeated = (...texts: string[]): string[] => [
    ...repeatedNames(texts.map((text, index) => ({ path: `${index}.ts`, text }))).keys(),
  ];

  it.each([
    ['constants', 'export const name = 1;'],
    ['functions', 'export async function name(): Promise<void> {}'],
    ['types', 'export type name = string;'],
    ['interfaces', 'export interface name {}'],
    ['classes', 'export class name {}'],
    ['lists of exports', 'const name = 1; export { name };'],
  ])('sees %s', (_, text) => {
    expect(repeated(text, 'export const name = 2;')).toEqual(['name']);
  });

  it('does not count what is passed on, local or overloaded', () => {
    const passed = `export { name } from './0.ts'; const other = 1;`;
    const overloaded = 'export function name(a: 1): 1; export function name(a: 2): 2; const other = 1;';
    expect(repeated(passed, overloaded)).toEqual([]);
  });
});
