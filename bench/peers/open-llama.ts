/** llama.cpp for measurements: on the CPU, with the binary of its npm package, so that nothing is downloaded or compiled. */
import { getLlama, type Llama, LlamaLogLevel } from 'node-llama-cpp';

/** @param threads most threads of a context */
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
