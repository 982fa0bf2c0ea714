/** Options shared by all training commands: the training plans' options, with a short name for the learning rate. */
import { runShape, settingsShape } from '../../training/plans/options.ts';
import { engineOptions, settings } from '../framework/command.ts';
import { optionsOf } from '../framework/schema-options.ts';

const { data, heldOut, out, replace, resume, memory, ...run } = optionsOf(runShape);
const { steps, epochs, learningRate, batch, length, seed, ...others } = optionsOf(settingsShape);

export const trainingOptions = {
  data,
  heldOut,
  out,
  replace,
  resume,
  steps,
  epochs,
  lr: learningRate,
  batch,
  length,
  seed,
  ...settings({ memory, ...run, ...others, ...engineOptions }),
};
