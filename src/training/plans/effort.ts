/** Cost of a training, as far as it is known before the start: refused where no machine can do it, else announced. */
import { totalmem } from 'node:os';
import type { MixerConfig } from '../../attention/mixer.ts';
import { groupOf, growsWithText, isCausal } from '../../attention/mixers.ts';
import { LinnetError } from '../../errors.ts';
import type { ModelDescription } from '../../models/model.ts';
import { parameterCount } from '../../nn/parameters.ts';
import { formatBytes, formatCount, formatDuration } from '../../report/quantities.ts';
import { microBatchRows, type TrainingSettings } from '../settings.ts';

/** The losses of all steps are kept, and in every snapshot: 80 MB at the limit. At ten a second they take two weeks. */
const mostSteps = 10_000_000;

/** A step that needs this multiple of the machine's memory is refused; below it there may be swap space. */
const hopeless = 2;

/** From here on a training is announced with the time it will take. */
const longSeconds = 3 * 24 * 3600;

const float = 4;
/** Lower bound on the kept tensors per layer, of its width, for the backward pass: its input, and its matrices' inputs. */
const keptPerLayer = 4;

/** The trained model; without sizes, such as heads, only its weights count. */
type TrainedModel = Pick<ModelDescription, 'parameters'> & Partial<Pick<ModelDescription, 'sizes' | 'mixers'>>;

/** Lower bound on an optimizer step's bytes: weights, gradients, two moments, and activations of one micro-batch. */
export function leastStepBytes({ sizes, mixers = [], parameters }: TrainedModel, settings: TrainingSettings): number {
  const weights = parameterCount(parameters);
  const rows = microBatchRows(settings);
  const { length } = settings;
  const quadratic = mixers.filter(scoresEveryPair).length;
  const { layers, width, heads } = sizes ?? { layers: 0, width: 0, heads: 0 };
  const activations = rows * length * layers * width * keptPerLayer;
  return float * (4 * weights + activations + rows * length * length * heads * quadratic);
}

/** Softmax attention and its like keep a score for every pair of positions: single positions are read from any distance. */
function scoresEveryPair(mixer: MixerConfig): boolean {
  return isCausal(mixer) && growsWithText(mixer) && groupOf(mixer) === Number.POSITIVE_INFINITY;
}

/**
 * Refuses a training that cannot finish.
 * @param machineBytes total memory; default: the machine's, or the container's
 * @returns a warning; undefined if there is none
 * @throws LinnetError `CONFIG` for more than ten million steps, and for a step that takes twice the memory there is
 */
export function requireFeasible(
  model: TrainedModel,
  settings: TrainingSettings,
  steps: number,
  machineBytes = memoryOfMachine(),
): string | undefined {
  if (steps > mostSteps) {
    throw new LinnetError(
      'CONFIG',
      `the training would take ${formatCount(steps)} optimizer steps, and at most ${formatCount(mostSteps)} are made; ` +
        'give fewer `steps` or `epochs`, or a larger `batch`',
    );
  }
  const bytes = leastStepBytes(model, settings);
  if (bytes <= machineBytes) return undefined;
  const need =
    `an optimizer step takes at least ${formatBytes(bytes)} of memory (micro-batches of ` +
    `${microBatchRows(settings)} × ${formatCount(settings.length)} tokens), and there are ${formatBytes(machineBytes)}`;
  if (bytes <= hopeless * machineBytes) return `${need}: it will be slow or fail`;
  throw new LinnetError('CONFIG', `${need}; give a smaller \`microBatch\` or \`length\``);
}

/** A warning once the pace is known; undefined for a training of some days. */
export function paceWarning(secondsPerStep: number, stepsLeft: number): string | undefined {
  const seconds = secondsPerStep * stepsLeft;
  if (!(seconds > longSeconds)) return undefined;
  return `at ${formatDuration(secondsPerStep)} a step, the ${formatCount(stepsLeft)} steps that are left take about ${formatCount(Math.round(seconds / 86400))} days`;
}

function memoryOfMachine(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}
