/** The scorer of `linnet eval tasks`, opened here or by a worker. */
import { scoredBytes } from '../../engine/scoring/sequence-scorer.ts';
import { type ModelWeights, openCausalWeights } from '../../checkpoint/load-model.ts';
import { segmentWeights } from '../../checkpoint/stored-parameter.ts';
import { lookupDrafter } from '../../decoding/speculation/drafters/registry.ts';
import { speculative } from '../../decoding/speculation/speculative.ts';
import { EngineScorer } from '../../engine/scoring/engine-scorer.ts';
import type { ScorerDescription } from '../../evaluation/tasks/queued.ts';
import type { TaskQuestions } from '../../evaluation/tasks/requests.ts';
import { WindowScorer } from '../../evaluation/tasks/window-scorer.ts';
import { modelStateBytes } from '../../models/graphs/model-layout.ts';
import type { CausalModel } from '../../models/model.ts';
import { parameterCount } from '../../nn/parameters.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { open } from '../../open/index.ts';
import { writerKinds } from '../../open/opened-model.ts';
import type { FormPlan, MemoryForm } from '../../training/memory-form.ts';
import { sha256 } from '../../files/digest.ts';
import { loadTokenizer } from '../../tokenizer/tokenizer.ts';
import { type LayeredMemory, requireOpeningMemory } from './opening-memory.ts';

/** Questions that a scorer is opened for. */
interface AskedTasks {
  readonly read: () => Promise<readonly TaskQuestions[]>;
  /** Bytes. Default: as `memoryLimit`. */
  readonly memory?: number;
}

/** A scorer, and its model's facts for results. */
interface TaskScorer extends AsyncDisposable {
  readonly scorer: EngineScorer | WindowScorer;
  /** Identifies the model and all that decides its answers. */
  readonly identity: string;
  readonly parameterCount: number;
  /** Bytes of the state of a new text. */
  readonly stateBytes: number;
}

/**
 * Whether a model is opened whole for questions, or read layer by layer if its engine does not fit.
 * @throws LinnetError `CONFIG` if no form fits
 */
export async function planTaskScorer(description: ScorerDescription, asked: AskedTasks): Promise<FormPlan> {
  return await requireOpeningMemory(description.model, { memory: asked.memory, results: scoredBytes }, (weights) =>
    layersOf(weights, description, asked),
  );
}

/** Opens a model for questions. Dispose of it. @throws LinnetError as `open`, and without a tokenizer */
export async function openTaskScorer(
  description: ScorerDescription,
  compile: CompileOptions,
  form: MemoryForm,
): Promise<TaskScorer> {
  const { model, maxLength, context, sharing, bos, speculate } = description;
  const identify = (fingerprint: string, scorer: EngineScorer | WindowScorer): string =>
    sha256(JSON.stringify([fingerprint, scorer.maxLength, scorer.bos, context]));
  const loaded =
    form === 'layers' ? await openCausalWeights(model) : await open(model, { ...compile, kind: writerKinds });
  const close = () => loaded[Symbol.asyncDispose]();
  try {
    if ('names' in loaded) {
      const scorer = await windowScorer(loaded, description, compile);
      return {
        scorer,
        identity: identify(await loaded.fingerprint(), scorer),
        parameterCount: parameterCount(loaded.model.parameters),
        stateBytes: modelStateBytes(loaded.model, 0),
        [Symbol.asyncDispose]: close,
      };
    }
    const { tokenizer } = loaded;
    const engine = await loaded.engine();
    const newMethod = speculate === 'off' ? undefined : () => speculative(lookupDrafter());
    const scorer = new EngineScorer({ engine, tokenizer, maxLength, rollingContext: context, sharing, bos, newMethod });
    return {
      scorer,
      identity: identify(loaded.fingerprint, scorer),
      parameterCount: loaded.parameterCount,
      stateBytes: engine.stateBytes ?? 0,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function windowScorer(
  { model, parameters, path }: ModelWeights<CausalModel>,
  { maxLength, context: rollingContext, bos }: ScorerDescription,
  compile?: CompileOptions,
): Promise<WindowScorer> {
  const tokenizer = await loadTokenizer(path);
  return new WindowScorer({ model, parameters, tokenizer, maxLength, bos, rollingContext, compile });
}

/** The memory of answering layer by layer, which tells log-likelihoods of causal models. */
async function layersOf(
  weights: ModelWeights,
  description: ScorerDescription,
  asked: AskedTasks,
): Promise<LayeredMemory> {
  const { model, parameters } = weights;
  if (model.kind !== 'causal') return {};
  const tasks = await asked.read();
  const generating = tasks.filter(({ task }) => task.output_type === 'generate_until').map(({ task }) => task.task);
  if (generating.length > 0) {
    return { remedies: [`tasks whose answers are not generated, as those of ${generating.join(', ')} are`] };
  }
  const scorer = await windowScorer({ ...weights, model }, description);
  return { layers: scorer.memory(tasks, segmentWeights(parameters)), remedies: ['shorter questions (`maxLength`)'] };
}
