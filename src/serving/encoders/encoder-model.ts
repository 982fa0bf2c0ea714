/** A model that reads texts whole, as a server knows it: a classifier, or an encoder. */
import type { LaidOutText } from '../../data/datasets/text-layouts.ts';
import { LinnetError } from '../../errors.ts';
import { requireGenerating } from '../../models/families/index.ts';
import type { Classifier } from '../../models/classifiers/classifier.ts';
import type { GeneratingModel, Model } from '../../models/model.ts';
import { ClassifyingModel, EncodingModel } from '../../open/encoding-model.ts';
import { open } from '../../open/index.ts';
import { running, type RunningModel, type RunningOptions, ServedModel } from '../../open/running-model.ts';

/** Dispose of it. */
export class ServedEncoder extends ServedModel<EncodingModel> {
  constructor(opened: EncodingModel, name: string) {
    super(opened, opened.backbone, name);
  }

  get kind(): EncodingModel['kind'] {
    return this.opened.kind;
  }

  /** The description of the encoder, or of the classifier's backbone. */
  get description(): Model {
    return this.opened.backbone;
  }

  /** Labels and head, of a classifier. */
  get classifier(): Classifier | undefined {
    return this.opened instanceof ClassifyingModel ? this.opened.description : undefined;
  }

  /** Most tokens that it reads of a text. */
  get longest(): number {
    return this.opened.longest;
  }

  /** A text, or two, as the model reads them. @param longest tokens beyond which it is cut; Infinity cuts nothing */
  layOut(text: string, pair: string | undefined, longest: number): LaidOutText {
    return this.opened.layOut(text, pair, longest);
  }

  /** Logits [classes] of a text. @throws LinnetError `CONFIG` for an encoder */
  logits(text: LaidOutText): Promise<Float32Array> {
    if (this.opened instanceof ClassifyingModel) return this.opened.logits(text);
    return Promise.reject(new LinnetError('CONFIG', `${this.name} is an encoder without classes`));
  }

  /** The mean of the last hidden states of a text, of length 1: [width]. */
  embedding(text: LaidOutText): Promise<Float32Array> {
    return this.opened.embedding(text);
  }
}

/** Opens a model to be served, with a tokenizer that fits. @throws LinnetError as `openGenerating` and `prepare` */
export async function openServed(
  folder: string,
  { name, chatTemplate, ...options }: RunningOptions & { readonly name: string },
): Promise<RunningModel<GeneratingModel> | ServedEncoder> {
  const opened = await open(folder, options);
  try {
    const model =
      opened instanceof EncodingModel
        ? new ServedEncoder(opened, name)
        : await running(opened, requireGenerating, { name, chatTemplate });
    model.prepare();
    return model;
  } catch (error) {
    await opened.dispose();
    throw error;
  }
}
