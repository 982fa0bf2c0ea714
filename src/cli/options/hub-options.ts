/** The hub of a command, and models that it fetches from there. */
import {
  type DatasetSource,
  type FetchPlan,
  hubSource,
  type ModelSource,
  type TransferOptions,
} from '../../checkpoint/hub/hub.ts';
import { type OpeningLimits, requireOpeningMemory } from './opening-memory.ts';
import { folderOfModel } from '../../open/source.ts';
import { formatBytes, formatCount } from '../../report/quantities.ts';
import { optional } from '../framework/command.ts';
import type { CommandContext } from '../framework/context.ts';
import { called, text } from '../framework/option-values.ts';

/** Where models come from if neither an option nor the environment says otherwise. */
const HUB = 'https://huggingface.co';

export const endpointOption = optional(called('url', text), `address of the hub (default: HF_ENDPOINT or ${HUB})`);

/** The hub that an option or the environment names. @throws LinnetError as `hubSource` */
export function hubOf({ environment }: CommandContext, endpoint?: string): ModelSource & DatasetSource {
  const { HF_ENDPOINT: configured = '', HF_TOKEN: token = '' } = environment;
  return hubSource({ endpoint: endpoint ?? (configured === '' ? HUB : configured), ...(token !== '' && { token }) });
}

/** Runs a download with an announcement and a progress line. */
export function announced<T>(context: CommandContext, download: (watching: TransferOptions) => Promise<T>): Promise<T> {
  const onPlan = ({ from, folder, files, bytes }: FetchPlan): void => {
    context.note(`fetching ${from}: ${formatCount(files)} files, ${formatBytes(bytes)}, to ${folder}`);
  };
  return context.withProgress('download', 'bytes', ({ signal, onProgress }) =>
    download({ onPlan, signal, onProgress: ({ file, received, size }) => onProgress(received, size, file) }),
  );
}

/** The folder of a model, fetched if it is not here. @throws LinnetError as `folderOfModel` and `requireOpeningMemory` */
export async function fetchedModel(
  context: CommandContext,
  model: string,
  limits: OpeningLimits = {},
): Promise<string> {
  const folder = await announced(context, (watching) => folderOfModel(model, { hub: hubOf(context), ...watching }));
  await requireOpeningMemory(folder, limits);
  return folder;
}
