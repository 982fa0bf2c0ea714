/** Results in lm-evaluation-harness's format: one object of numbers, and a line per question. */
import type { Score, ScorerUsage } from '../../engine/scoring/scorer.ts';
import { metrics } from './metrics/registry.ts';
import type { Response } from './judging.ts';
import { type TaskGroup, tasksOf } from './registry.ts';
import type { JudgedQuestion, EvaluationResult, TaskResult } from './run.ts';
import type { Question, TaskRequest } from './requests.ts';
import { pythonJson } from './text/python-json.ts';
import { sha256 } from '../../files/digest.ts';

/** A run's description in its results. */
export interface EvaluationDescription extends ScorerUsage {
  /** The model's folder, as given. */
  readonly model: string;
  readonly version: string;
  readonly protocol: string;
  readonly parameters: number;
  readonly maxLength: number;
  readonly bos: boolean;
  readonly limit: number | undefined;
  readonly bootstrapIterations: number;
  readonly seeds: readonly [python: number, numpy: number, torch: number, fewshot: number];
  readonly stateBytes: number;
  /** Seconds. */
  readonly elapsed: number;
  /** Unix time in seconds. */
  readonly date: number;
}

export function sanitizedName(model: string): string {
  return model.replace(/["<>:/|\\?*[\]]+/g, '__');
}

export function resultsObject(
  { tasks, groups }: EvaluationResult,
  selected: readonly TaskGroup[],
  run: EvaluationDescription,
): Record<string, unknown> {
  const byTask = <T>(value: (result: TaskResult) => T): Record<string, T> =>
    Object.fromEntries(tasks.map((result) => [result.task.task, value(result)]));
  const summed = Object.fromEntries(groups.map(({ task, values }) => [task, { alias: task, ...values }]));
  const [random, numpy, torch, fewshot] = run.seeds;
  return {
    results: {
      ...byTask(({ task, summary }) => ({ alias: task.task, ...summary.values })),
      ...summed,
    },
    groups: summed,
    group_subtasks: Object.fromEntries(selected.map((group) => [group.name, tasksOf(group)])),
    configs: byTask(({ task, shots }) => ({ ...task, num_fewshot: shots })),
    versions: byTask(({ task }) => task.metadata.version),
    'n-shot': byTask(({ shots }) => shots),
    higher_is_better: byTask(({ task }) =>
      Object.fromEntries(task.metric_list.map(({ metric }) => [metric, metrics[metric].higherIsBetter])),
    ),
    'n-samples': byTask(({ total, answers }) => ({ original: total, effective: answers.length })),
    config: {
      model: 'linnet',
      model_args: `pretrained=${run.model},max_length=${run.maxLength},add_bos_token=${run.bos ? 'True' : 'False'}`,
      model_num_parameters: run.parameters,
      limit: run.limit ?? null,
      bootstrap_iters: run.bootstrapIterations,
      gen_kwargs: {},
      random_seed: random,
      numpy_seed: numpy,
      torch_seed: torch,
      fewshot_seed: fewshot,
    },
    date: run.date,
    lm_eval_version: null,
    max_length: run.maxLength,
    task_hashes: byTask(({ answers }) => sha256(answers.flatMap((answer) => Object.values(hashesOf(answer))).join(''))),
    model_source: 'linnet',
    model_name: run.model,
    model_name_sanitized: sanitizedName(run.model),
    system_instruction: null,
    fewshot_as_multiturn: false,
    chat_template: null,
    total_evaluation_time_seconds: String(run.elapsed),
    linnet: {
      version: run.version,
      protocol: run.protocol,
      state_bytes: run.stateBytes,
      read_tokens: run.tokensRead,
      reused_prefix_tokens: run.tokensReused,
      generated_tokens: run.tokensGenerated,
    },
  };
}

/** A samples file's lines: one per question and filter. */
export function sampleLines({ task, answers }: TaskResult): Record<string, unknown>[] {
  const floats = new Set(Object.keys(task.columns).filter((name) => task.columns[name] === 'float'));
  return answers.flatMap((answer) => {
    const { question, responses, judgements } = answer;
    return judgements.map(({ filter, filtered, metrics: values }) => ({
      doc_id: question.docId,
      doc: question.doc,
      target: question.target,
      arguments: Object.fromEntries(
        question.requests.map((request, index) => [`gen_args_${index}`, argumentsOf(request)]),
      ),
      resps: responses.map((response) => [shown(response, question)]),
      filtered_resps: filtered.map((response) => shown(response, question)),
      filter,
      metrics: task.metric_list.map(({ metric }) => metric),
      ...hashesOf(answer, floats),
      ...values,
    }));
  });
}

/** A request as a line in a requests file. */
export function requestLine(task: string, { docId }: Question, request: TaskRequest): Record<string, unknown> {
  const head = { task, doc_id: docId, type: request.type };
  if (request.type === 'loglikelihood') {
    return { ...head, context: request.context, continuation: request.continuation };
  }
  // A whole text continues nothing.
  if (request.type === 'loglikelihood_rolling') {
    return { ...head, context: '', continuation: request.text, text: request.text };
  }
  return { ...head, context: request.context, ...request.settings };
}

function argumentsOf(request: TaskRequest): Record<string, unknown> {
  if (request.type === 'loglikelihood') return { arg_0: request.context, arg_1: request.continuation };
  if (request.type === 'loglikelihood_rolling') return { arg_0: request.text };
  return { arg_0: request.context, arg_1: request.settings };
}

/** Numbers as text, like the harness writes them. */
function shown(response: Response, question: Question): string | string[] {
  if (typeof response === 'string') return response;
  const { logLikelihood, isGreedy }: Score = response;
  if (question.requests[0].type === 'loglikelihood_rolling') return String(logLikelihood);
  return [String(logLikelihood), isGreedy ? 'True' : 'False'];
}

function hashesOf({ question }: JudgedQuestion, floats?: ReadonlySet<string>) {
  const [request] = question.requests;
  return {
    doc_hash: sha256(pythonJson(question.doc, floats)),
    prompt_hash: sha256(request.type === 'loglikelihood_rolling' ? request.text : request.context),
    target_hash: sha256(question.target),
  };
}
