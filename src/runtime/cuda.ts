/**
 * What ONNX Runtime's CUDA provider requires: the CUDA and cuDNN libraries, which its package omits because of their size, and
 * a driver. If one is absent, errors say what to install.
 */
import { access } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { LinnetError } from '../errors.ts';

const libraries = ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so'] as const;

/**
 * Looks for the provider's libraries next to the engine's own.
 * @throws LinnetError `NOT_FOUND` on systems other than Linux x64, and if a library is absent, saying how to get it
 */
export async function requireCudaLibraries(): Promise<void> {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new LinnetError(
      'NOT_FOUND',
      `device "cuda" needs Linux x64, this is ${process.platform} ${process.arch}; use "webgpu" or "cpu"`,
    );
  }
  const installed = dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'));
  for (const name of libraries) {
    const file = join(installed, 'bin/napi-v6/linux/x64', name);
    await access(file).catch((cause: unknown) => {
      throw new LinnetError(
        'NOT_FOUND',
        `device "cuda" needs ${name}, which is not installed; fetch it with\n` +
          `  node ${join(installed, 'script/install.js')} --onnxruntime-node-install=cuda12\n` +
          'and install CUDA 12 and cuDNN 9 from NVIDIA (docs/reference/dependencies.md)',
        { cause },
      );
    });
  }
}

/** Explains a provider error by its common causes. */
export function explainCuda(error: unknown): never {
  if (!(error instanceof LinnetError) || error.code !== 'RUNTIME') throw error;
  throw new LinnetError(
    error.code,
    `${error.message}\ndevice "cuda" needs an NVIDIA GPU and driver, and the libraries of CUDA 12 and cuDNN 9 where the ` +
      'system finds them (LD_LIBRARY_PATH); "nvidia-smi" says whether there is a GPU',
    { cause: error },
  );
}
