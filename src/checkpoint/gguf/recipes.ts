/** Makes a checkpoint's tensors from a GGUF file's: undoes the conversion's changes to names, rows, columns and values. */
import { LinnetError } from '../../errors.ts';
import { quoteName } from '../../files/name-list.ts';
import type { ListedTensor } from './header.ts';
import { refusal } from './refusal.ts';

/** How to make a checkpoint's tensor from a file's tensors. */
export interface TensorRecipe {
  /** Name in the checkpoint. */
  readonly name: string;
  readonly shape: readonly number[];
  /** Stacked by rows. */
  readonly sources: readonly ListedTensor[];
  /** The source row of the checkpoint's row r. Default: r. */
  readonly row?: (r: number) => number;
  /** The source column of column c. Default: c. Columns of a unit stay together. */
  readonly column?: { readonly unit: number; readonly of: (c: number) => number };
  /** Whether the checkpoint transposes the tensor. */
  readonly transposed?: boolean;
  /** Changes values in place. */
  readonly values?: (values: Float32Array) => void;
}

/** The conversion's change to a tensor, besides its name. */
export type Change = (
  tensor: ListedTensor,
) => Partial<Pick<TensorRecipe, 'shape' | 'row' | 'column' | 'transposed' | 'values'>>;

/** A name in the checkpoint, and the change to undo. */
export interface Rule {
  readonly to: string;
  readonly change?: Change;
  /** Place among the file's tensors that make one in the checkpoint. */
  readonly part?: number;
}

/** By the file's name: whole, or without ".weight" and ".bias", which are kept. */
export type Rules = Readonly<Record<string, string | Rule>>;

/** A model's rules: for its layers, whose names begin with "blk.N.", and for the others, which come first. */
export interface NameRules {
  readonly model: Rules;
  /** By the file's name prefix ("blk"): the checkpoint's prefix, and the rules for names after the number. */
  readonly layers: Readonly<Record<string, { readonly to: string; readonly rules: Rules }>>;
  /** Tensors that are not parameters. */
  readonly others?: readonly string[];
}

/**
 * Every tensor's recipe.
 * @throws LinnetError `TENSOR` naming a tensor without a rule
 */
export function tensorRecipes(
  tensors: ReadonlyMap<string, ListedTensor>,
  { model, layers, others = [] }: NameRules,
  source: string,
): TensorRecipe[] {
  const recipes = new Map<string, TensorRecipe & { readonly parts: number[] }>();
  const unknown: string[] = [];
  for (const tensor of tensors.values()) {
    if (others.includes(tensor.name)) continue;
    const rule = ruleOf(model, tensor.name) ?? layerRule(layers, tensor.name);
    if (rule === undefined) {
      unknown.push(tensor.name);
      continue;
    }
    const { to: name, change, part = 0 } = rule;
    const made = { name, shape: tensor.shape, sources: [tensor], parts: [part], ...change?.(tensor) };
    const other = recipes.get(name);
    recipes.set(name, other === undefined ? made : joined(other, made, source));
  }
  if (unknown.length > 0) {
    const named = unknown.slice(0, 5).map(quoteName).join(', ');
    const what = `has ${unknown.length} tensors unknown to its architecture: ${named}`;
    throw refusal(source, what, 'TENSOR');
  }
  return [...recipes.values()];
}

/** Expands a rule given as a name alone. */
export function asRule(rule: string | Rule): Rule {
  return typeof rule === 'string' ? { to: rule } : rule;
}

function ruleOf(rules: Rules, name: string): Rule | undefined {
  if (Object.hasOwn(rules, name)) return asRule(rules[name]);
  const [, stem = name, suffix = ''] = /^(.+)(\.weight|\.bias)$/.exec(name) ?? [];
  if (suffix === '' || !Object.hasOwn(rules, stem)) return undefined;
  const rule = asRule(rules[stem]);
  return { ...rule, to: rule.to + suffix };
}

function layerRule(layers: NameRules['layers'], name: string): Rule | undefined {
  const [, stem = '', number = '', rest = ''] = /^((?:\w+\.)?blk)\.(\d{1,4})\.(.+)$/.exec(name) ?? [];
  if (!Object.hasOwn(layers, stem)) return undefined;
  const { to, rules } = layers[stem];
  const rule = ruleOf(rules, rest);
  return rule && { ...rule, to: `${to}.${Number(number)}.${rule.to}` };
}

/** Stacks the rows of two of the file's tensors. */
function joined<T extends TensorRecipe & { readonly parts: number[] }>(one: T, other: T, source: string): T {
  const [rows, ...columns] = one.shape;
  const all = [one, other].toSorted((a, b) => a.parts[0] - b.parts[0]);
  if (one.parts[0] === other.parts[0] || String(columns) !== String(other.shape.slice(1))) {
    throw new LinnetError('TENSOR', `${source} holds ${quoteName(one.name)} twice, or in parts of different widths`);
  }
  return {
    ...one,
    shape: [rows + other.shape[0], ...columns],
    sources: all.flatMap(({ sources }) => sources),
    parts: all.flatMap(({ parts }) => parts),
  };
}
