/** The error for a well-formed but unsupported GGUF file. */
import { type ErrorCode, LinnetError } from '../../errors.ts';

/** @param what completes "FILE …" */
export function refusal(source: string, what: string, code: ErrorCode = 'CONFIG'): LinnetError {
  return new LinnetError(code, `${source} ${what}; take the model as safetensors`);
}
