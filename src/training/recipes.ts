/**
 * Settings of the paper's runs by name. P: the paper (arXiv 2406.07368) says so; C: its code does, where the paper is
 * silent. Where both speak and differ, the paper counts. β₁ and β₂ are 0.9 and 0.95 (P; the code leaves 0.999) and need no
 * entry: they are our defaults, as is the clip of 1 where no run says otherwise.
 */
import type { TrainingInput } from './settings.ts';

/** All recipes, in the order of help. */
export const recipeNames = ['gpt2-glue', 't5-glue', 'bert-glue', 'llama-lora', 'flash-wiki40b'] as const;
/** The name of one of the paper's recipes. */
export type RecipeName = (typeof recipeNames)[number];

/** Settings of a recipe. Weight decay never applies to norms, biases, α and filter weights (the code leaves out biases alone). */
export interface Recipe {
  /** Completes "settings of". */
  readonly of: string;
  readonly settings: Omit<TrainingInput, 'seed' | 'microBatch'>;
  /** For `parseLoraChoice`, and the groups trained in full. */
  readonly lora?: { readonly choice: string; readonly whole: readonly ('norms' | 'embeddings' | 'mixers')[] };
}

/** P: batch 32, 3 epochs, length 256. C: rate 2e-5 falling linearly without warm-up, no weight decay. */
const glue = {
  learningRate: 2e-5,
  schedule: 'linear',
  warmup: 0,
  batch: 32,
  epochs: 3,
  length: 256,
  weightDecay: 0,
} as const;

const recipes: Readonly<Record<RecipeName, Recipe>> = {
  'gpt2-glue': { of: 'GPT-2 on GLUE', settings: glue },
  // C has batch 16; P 32. The convolution's K = 9 is a matter of the mixer.
  't5-glue': { of: 'T5 on GLUE', settings: glue },
  // P compares BERT under the others' settings and names no separate ones.
  'bert-glue': { of: 'BERT on GLUE', settings: glue },
  'llama-lora': {
    of: 'LLaMA-2 by low-rank adaptation',
    // P: 1,000 optimizer steps of 64 sequences, 2e-5 constant after 20 of warm-up. C: length 4096, no weight decay.
    settings: {
      learningRate: 2e-5,
      schedule: 'constant',
      warmup: 20,
      batch: 64,
      steps: 1000,
      length: 4096,
      weightDecay: 0,
    },
    // C: r = 8, α = 16 on q, k, v, o; embeddings, norms, α and filter weights whole.
    lora: { choice: 'r=8,alpha=16,targets=q,k,v,o', whole: ['norms', 'embeddings', 'mixers'] },
  },
  'flash-wiki40b': {
    of: 'FLASH on Wiki40B, from random weights',
    // P: 7e-4 falling linearly, 256 sequences of 1,024. C: 10,000 optimizer steps of warm-up, 15 epochs, decay 0.01, clip 0.1.
    settings: {
      learningRate: 7e-4,
      schedule: 'linear',
      warmup: 10_000,
      batch: 256,
      epochs: 15,
      length: 1024,
      weightDecay: 0.01,
      clip: 0.1,
    },
  },
};

/** The recipe of a name. */
export function recipe(name: RecipeName): Recipe {
  return recipes[name];
}

/** The settings of a recipe, overridden by the given ones; optimizer steps replace epochs and vice versa. */
export function withRecipe(name: RecipeName | undefined, given: TrainingInput): TrainingInput {
  if (name === undefined) return given;
  const { steps, epochs, ...settings } = recipe(name).settings;
  const extent = given.steps === undefined && given.epochs === undefined ? { steps, epochs } : {};
  const said = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { ...settings, ...extent, ...said };
}
