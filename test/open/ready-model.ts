/** A model that writes texts, opened with its engine compiled. */
import type { StepEngine } from '../../src/decoding/step-engine.ts';
import type { ExportManifest } from '../../src/export/manifest.ts';
import type { GeneratingModel } from '../../src/models/model.ts';
import { open, type OpenOptions } from '../../src/open/index.ts';
import type { WriterByKind } from '../../src/open/model-files.ts';
import { writerKinds } from '../../src/open/opened-model.ts';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.ts';

export class ReadyModel implements AsyncDisposable {
  readonly opened: WriterByKind[keyof WriterByKind];
  readonly engine: StepEngine;

  constructor(opened: ReadyModel['opened'], engine: StepEngine) {
    this.opened = opened;
    this.engine = engine;
  }

  get model(): GeneratingModel {
    return this.opened.description;
  }

  get tokenizer(): Tokenizer {
    return this.opened.tokenizer;
  }

  get fingerprint(): string {
    return this.opened.fingerprint;
  }

  get manifest(): ExportManifest | undefined {
    return this.opened.manifest;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.opened.dispose();
  }
}

/** Also an encoder-decoder model. */
export async function openReady(source: string, options?: OpenOptions): Promise<ReadyModel> {
  const opened = await open(source, { ...options, kind: writerKinds });
  try {
    return new ReadyModel(opened, await opened.engine());
  } catch (error) {
    await opened.dispose();
    throw error;
  }
}
