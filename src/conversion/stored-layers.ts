/** Layers that machines train without a common disk: each its share, with results in a store. */
import type { Job } from '../jobs/job.ts';
import { isInShare, ResultStore } from '../jobs/result-store.ts';
import type { LayerTransfer } from './layer-transfer.ts';
import type { ConversionOptions } from './options.ts';
import { transferJson, transferOf } from './queued-layers.ts';
import type { Weighted } from './stages.ts';

/** The layers of a stage and their store. */
export interface StoredLayers {
  /** Results of others, or of this machine in an earlier run. */
  readonly known: ReadonlyMap<number, LayerTransfer>;
  /** Layers without a result that are to be trained here. */
  readonly open: readonly number[];
  readonly keep: (result: LayerTransfer) => Promise<void>;
}

interface StoredLayersOptions extends Pick<ConversionOptions, 'store' | 'share'> {
  /** Identity of the conversion, steps included. */
  readonly origin: string;
  readonly stage: string;
}

/**
 * Looks for results of layers. Without a store there are none, and none are kept.
 * @throws LinnetError as `ResultStore.open` and `ResultStore.find`, `FORMAT` for a result that is not of the layer
 */
export async function layersInStore(
  student: Weighted,
  layers: readonly number[],
  { store, share, origin, stage }: StoredLayersOptions,
): Promise<StoredLayers> {
  const results = store === undefined ? undefined : await ResultStore.open(store);
  // A name by the work and not by the weights at its start: closed forms differ by rounding among processors.
  const jobOf = (layer: number): Job => ({
    kind: 'conversion-layer',
    data: { origin, stage, layer },
    title: `layer ${layer}`,
  });
  const known = new Map<number, LayerTransfer>();
  for (const layer of layers) {
    const found = await results?.find(jobOf(layer));
    if (found !== undefined) known.set(layer, transferOf(found, student, layer));
  }
  return {
    known,
    open: layers.filter((layer, position) => !known.has(layer) && isInShare(position, share)),
    keep: async (result) => results?.keep(jobOf(result.layer), transferJson(result)),
  };
}
