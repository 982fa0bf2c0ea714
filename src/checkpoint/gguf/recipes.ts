/** Tensors of a checkpoint from tensors of a GGUF file: conversion's changes of names, rows, columns and values are undone. */
import { LinnetError } from '../../errors.ts';
import { quoteName } from '../../files/name-list.ts';
import type { ListedTensor } from './header.ts';
import { refusal } from './refusal.ts';

/** How a tensor of a checkpoint is made of tensors of a file. */
export interface TensorRecipe {
  /** In the checkpoint. */
  readonly name: string;
  readonly shape: readonly number[];
  /** One below the other, by rows. */
  readonly sources: readonly ListedTensor[];
  /** Row of the sources that is row r of the checkpoint. Default: r. */
  readonly row?: (r: number) => number;
  /** Column of the sources that is column c. Default: c. Columns of a unit stay together. */
  readonly column?: { readonly unit: number; readonly of: (c: number) => number };
  /** Whether the checkpoint has columns for rows. */
  readonly transposed?: boolean;
  /** Changes values in place. */
  readonly values?: (values: Float32Array) => void;
}

/** Conversion's change of a tensor besides its name. */
export type Change = (
  tensor: ListedTensor,
) => Partial<Pick<TensorRecipe, 'shape' | 'row' | 'column' | 'transposed' | 'values'>>;

/** A name in the checkpoint, and the change that is undone. */
export interface Rule {
  readonly to: string;
  readonly change?: Change;
  /** Place among the tensors of the file that are one in the checkpoint. */
  readonly part?: number;
}

/** By name in the file: whole, or without ".weight" and ".bias", which are kept. */
export type Rules = Readonly<Record<string, string | Rule>>;

/** The rules of a model: of its layers, whose names follow "blk.N.", and the others, which go first. */
export interface NameRules {
  readonly model: Rules;
  /** By the beginning of the names in a file ("blk"), the beginning in a checkpoint, and what follows the number. */
  readonly layers: Readonly<Record<string, { readonly to: string; readonly rules: Rules }>>;
  /** Tensors that are no parameters. */
  readonly others?: readonly string[];
}

/**
 * The recipes of all tensors.
 * @throws LinnetError `TENSOR` for one without a rule, by name
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
    const what = `holds ${unknown.length} tensors that its architecture does not have here: ${named}`;
    throw refusal(source, what, 'TENSOR');
  }
  return [...recipes.values()];
}

/** A rule that may be a name alone. */
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

/** Rows of two tensors of a file, one below the other. */
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
