/** Errors as the API reports them. */
import { type ErrorCode, LinnetError, OverloadError } from '../../errors.ts';
import { systemErrorCode } from '../../files/regular-file.ts';

/** Kinds of errors, with the status that goes with each. */
const statusByType = {
  invalid_request_error: 400,
  exceed_context_size_error: 400,
  authentication_error: 401,
  permission_error: 403,
  not_found_error: 404,
  method_not_allowed_error: 405,
  conflict_error: 409,
  payload_too_large_error: 413,
  unsupported_media_type_error: 415,
  rate_limit_error: 429,
  server_error: 500,
  not_supported_error: 501,
  unavailable_error: 503,
  insufficient_storage_error: 507,
} as const;

export type ApiErrorType = keyof typeof statusByType;

interface ErrorDetails {
  /** The wrong field. */
  readonly param?: string | undefined;
  /** Seconds after which to try again. */
  readonly retryAfter?: number;
  readonly details?: Readonly<Record<string, number>>;
  readonly cause?: unknown;
}

export class ApiError extends Error {
  readonly type: ApiErrorType;
  readonly param: string | undefined;
  readonly retryAfter: number | undefined;
  readonly details: Readonly<Record<string, number>>;

  constructor(type: ApiErrorType, message: string, { param, retryAfter, details = {}, cause }: ErrorDetails = {}) {
    super(message, { cause });
    this.name = 'ApiError';
    this.type = type;
    this.param = param;
    this.retryAfter = retryAfter;
    this.details = details;
  }

  get status(): (typeof statusByType)[ApiErrorType] {
    return statusByType[this.type];
  }

  get body() {
    const { details, message, type, status: code, param = null } = this;
    return { error: { ...details, message, type, code, param } };
  }
}

/** Error types of a bad request, by our own codes; any other error is the server's. */
const typeByCode: Partial<Record<ErrorCode, ApiErrorType>> = {
  INPUT: 'invalid_request_error',
  CONFIG: 'invalid_request_error',
  FORMAT: 'invalid_request_error',
  MISMATCH: 'invalid_request_error',
  ABORTED: 'unavailable_error',
};

const noRoom = 'there is no disk space left for states; delete sessions or free space';

/** The store of sessions cannot be reached, or has no room. */
export class StoreError extends ApiError {
  constructor(isFull: boolean, cause: unknown) {
    if (isFull) super('insufficient_storage_error', noRoom, { cause });
    else super('unavailable_error', 'the store of sessions does not answer; try again later', { retryAfter: 1, cause });
  }
}

/** Turns any error into a reportable one; server errors reveal no internals. @param signal whose reason is what aborted */
export function asApiError(error: unknown, signal?: AbortSignal): ApiError {
  const isAborted = error instanceof LinnetError && error.code === 'ABORTED';
  if (isAborted && signal?.reason instanceof ApiError) return signal.reason;
  if (error instanceof ApiError) return error;
  if (error instanceof OverloadError) {
    return error.reason === 'full'
      ? new ApiError('rate_limit_error', error.message, { retryAfter: 1 })
      : new ApiError('unavailable_error', error.message, { retryAfter: 5 });
  }
  if (['ENOSPC', 'EDQUOT'].includes(systemErrorCode(error instanceof LinnetError ? error.cause : error) ?? '')) {
    return new ApiError('insufficient_storage_error', noRoom);
  }
  const type = error instanceof LinnetError ? typeByCode[error.code] : undefined;
  if (type !== undefined && error instanceof LinnetError) return new ApiError(type, error.message);
  return new ApiError('server_error', 'the server failed; see its log');
}
