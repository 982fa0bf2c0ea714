/** Speculation on the command line: its options, and the drafters that they stand for. */
import type { z } from 'zod';
import { parseTreeFile } from '../../checkpoint/medusa-trees.ts';
import { readTextFile } from '../../data/files/text-file.ts';
import type { DecodingMethod } from '../../decoding/method.ts';
import { acceptanceRules } from '../../decoding/speculation/acceptance.ts';
import { CombinedDrafter } from '../../decoding/speculation/drafters/combined-drafter.ts';
import type { Drafter } from '../../decoding/speculation/drafters/drafter.ts';
import { medusaDrafters } from '../../decoding/speculation/drafters/medusa-drafter.ts';
import { ModelDrafter } from '../../decoding/speculation/drafters/model-drafter.ts';
import { MtpDrafter } from '../../decoding/speculation/drafters/mtp-drafter.ts';
import { drafterMakers } from '../../decoding/speculation/drafters/registry.ts';
import { AdaptiveSpeculation } from '../../decoding/speculation/adaptive-speculation.ts';
import { SpeculationStatistics, type SpeculationSummary, speculative } from '../../decoding/speculation/speculative.ts';
import { formatFixed } from '../../report/quantities.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { optional, settings, withDefault } from '../framework/command.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { choice, filePath } from '../framework/option-values.ts';
import { modelFolder } from './model-options.ts';
import { open } from '../../open/index.ts';
import type { LanguageModel } from '../../open/language-model.ts';
import type { JsonObject } from '../../files/json-object.ts';

export const speculationOptions = {
  speculate: withDefault(
    choice(['off', 'medusa', 'mtp', 'lookup', 'suffix', 'recycle', 'draft', 'auto'], 'drafter'),
    'off',
    'decode several tokens per step, drafted by medusa (heads in the model folder), mtp (its multi-token prediction ' +
      'layer), lookup (repetitions in the text), suffix (the most frequent repetitions), recycle (tokens the model ' +
      'considered), draft (a smaller model), auto (all available drafters, while they pay) or off',
  ),
  ...settings({
    draft: optional(modelFolder, 'smaller model with the same vocabulary, for draft and auto'),
    tree: optional(
      filePath,
      "candidate tree of medusa: JSON of rank paths (default: the model folder's, else trees grow where drafts are accepted)",
    ),
    acceptance: withDefault(
      choice(['exact', 'rejection', 'typical'], 'rule'),
      'exact',
      'exact: the text of sequential decoding; rejection: its distribution with other draws; typical: likely enough ' +
        'tokens, more per step, in another distribution',
    ),
  }),
};

type SpeculationRequest = z.output<z.ZodObject<typeof speculationOptions>>;

/** The parts of a model that its drafters need. */
type SpeculatedModel = Pick<LanguageModel, 'vocabulary' | 'learned' | 'hasHeads' | 'heads' | 'hasMtp' | 'mtp'>;

/** Ready drafters for one text. */
export interface Speculation {
  readonly method: DecodingMethod;
  /** Names of the drafters, such as `medusa+lookup`. */
  readonly drafter: string;
  summary(): SpeculationSummary & { readonly paused: boolean };
}

/** Starts speculation anew for every text. Dispose of it after the texts. */
interface Drafting extends AsyncDisposable {
  start(): Speculation;
}

/**
 * Opens the requested speculation; undefined for `off`.
 *
 * @throws UsageError for options that do not belong together; LinnetError `NOT_FOUND` for a model without heads,
 *   `MISMATCH` for heads or a draft model that do not fit the model, and as the loaders
 */
export async function openDrafting(
  request: SpeculationRequest,
  loaded: SpeculatedModel,
  compile: CompileOptions,
): Promise<Drafting | undefined> {
  checkOptions(request);
  const { speculate, draft, tree } = request;
  if (speculate === 'off') return undefined;
  const owned: AsyncDisposable[] = [];
  const dispose = async (): Promise<void> => {
    for (const each of owned) await each[Symbol.asyncDispose]();
  };
  const makers: (() => Drafter)[] = [];
  try {
    if (speculate === 'medusa' || (speculate === 'auto' && (await loaded.hasHeads()))) {
      const stored = await loaded.heads();
      owned.push(stored);
      const paths = tree === undefined ? stored.tree?.paths : parseTreeFile(await readTextFile(tree), tree);
      makers.push(medusaDrafters(stored.heads, paths));
    }
    if (speculate === 'mtp' || (speculate === 'auto' && loaded.hasMtp)) {
      const engine = await loaded.mtp();
      owned.push(engine);
      makers.push(() => new MtpDrafter(engine));
    }
    if (draft !== undefined) {
      const smaller = await open(draft, compile);
      owned.push(smaller);
      const engine = await smaller.engine();
      makers.push(() => new ModelDrafter(engine, loaded.vocabulary));
    }
    if (speculate !== 'medusa' && speculate !== 'mtp' && speculate !== 'draft')
      makers.push(() => drafterMakers[speculate](loaded.learned.of('')));
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    start() {
      const drafters = makers.map((make) => make());
      const drafter = drafters.length === 1 ? drafters[0] : new CombinedDrafter(drafters);
      const acceptance = acceptanceRules[request.acceptance]();
      const statistics = new SpeculationStatistics();
      const adaptive = speculate === 'auto' ? new AdaptiveSpeculation() : undefined;
      return {
        method: speculative(drafter, { acceptance, adaptive, statistics }),
        drafter: drafter.name,
        summary: () => ({ ...statistics.summary, paused: adaptive?.decision === 'sequential' }),
      };
    },
    [Symbol.asyncDispose]: dispose,
  };
}

function checkOptions({ speculate, draft, tree }: SpeculationRequest): void {
  if (speculate === 'draft' && draft === undefined) {
    throw new UsageError('--speculate draft needs --draft, the folder of a smaller model');
  }
  if (draft !== undefined && speculate !== 'draft' && speculate !== 'auto') {
    throw new UsageError(`--draft does not go with --speculate ${speculate}; give --speculate draft or auto`);
  }
  if (tree !== undefined && speculate !== 'medusa' && speculate !== 'auto') {
    throw new UsageError(`--tree does not go with --speculate ${speculate}; give --speculate medusa or auto`);
  }
}

/** Statistics of speculation in JSON, next to `generate`'s fields of every text. */
export function speculationJson(speculation: Speculation): JsonObject {
  const { tokensPerStep, acceptedByDepth, ...rest } = speculation.summary();
  return { tokensPerStep, acceptedByDepth, speculation: { drafter: speculation.drafter, ...rest } };
}

export function describeSpeculation(speculation: Speculation): string {
  const { drafter } = speculation;
  const { steps, tokensPerStep, nodesPerStep, acceptedByDepth, seconds, paused } = speculation.summary();
  const total = seconds.draft + seconds.verify + seconds.accept + seconds.commit;
  const percent = (share: number): string => `${formatFixed(100 * share, 0)}%`;
  const split = Object.entries(seconds).map(([part, time]) => `${part} ${percent(total === 0 ? 0 : time / total)}`);
  return [
    `${drafter}: ${formatFixed(tokensPerStep, 2)} tokens/step over ${steps} steps of ${formatFixed(nodesPerStep, 1)} nodes`,
    `accepted by depth ${acceptedByDepth.map(percent).join(' ') || 'none'}`,
    split.join(', '),
    ...(paused ? ['switched off: it did not pay'] : []),
  ].join('; ');
}

/** Intermediate statistics of speculation, for a progress line. */
export function speculationSoFar(speculation: Speculation): string {
  const { tokensPerStep, nodesPerStep, paused } = speculation.summary();
  const measured = `${formatFixed(tokensPerStep, 2)} tokens/step, ${formatFixed(nodesPerStep, 1)} nodes/step`;
  return paused ? `${measured}, paused` : measured;
}
