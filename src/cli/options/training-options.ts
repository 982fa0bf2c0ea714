/** The options that every training command has: those of training plans, the learning rate by its short name. */
import { runShape, settingsShape } from '../../training/plans/options.ts';
import { engineOptions } from '../framework/command.ts';
import { optionsOf } from '../framework/schema-options.ts';

const { recipe, steps, epochs, learningRate, ...settings } = optionsOf(settingsShape);

/** Options of every training command. */
export const trainingOptions = {
  ...optionsOf(runShape),
  ...{ recipe, steps, epochs, lr: learningRate },
  ...settings,
  ...engineOptions,
};

/** Those of them that have a flag; the others are settings. */
export const usualTrainingOptions = [
  ...(['data', 'heldOut', 'out', 'replace', 'resume', 'memory', 'threads'] as const),
  ...(['steps', 'epochs', 'lr', 'batch', 'length', 'seed'] as const),
];
