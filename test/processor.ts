/** What the processor of this machine cannot do, for tests whose numbers depend on it. */
import { existsSync, readFileSync } from 'node:fs';

const cpuInfo = '/proc/cpuinfo';

/**
 * Why a row by itself is not rounded as a row among others here: without AVX-512 ONNX Runtime's product with 4-bit weights adds
 * up a single row in another order. Undefined where both are the same.
 */
export const roundsRowsApart =
  process.arch === 'x64' && existsSync(cpuInfo) && !readFileSync(cpuInfo, 'utf8').includes('avx512f')
    ? 'this processor has no AVX-512: single rows of 4-bit products add up in another order'
    : undefined;
