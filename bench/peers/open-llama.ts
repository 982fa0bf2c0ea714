/** llama.cpp for measurements: on the CPU, with its npm package's binary, so it downloads and compiles nothing. */
import { getLlama, type Llama, LlamaLogLevel } from 'node-llama-cpp';

/** @param threads maximum threads per context */
export function openLlama(threads: number): Promise<Llama> {
  return getLlama({
    gpu: false,
    build: 'never',
    skipDownload: true,
    usePrebuiltBinaries: true,
    maxThreads: threads,
    logLevel: LlamaLogLevel.error,
  });
}
