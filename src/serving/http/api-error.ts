/** Errors as the API reports them. */
import { type ErrorCode, LinnetError, OverloadError } from '../../errors.ts';
import { isFull } from '../sessions/folder-store.ts';
import { StoreError } from '../sessions/state-store.ts';
import { SessionError } from '../sessions/sessions.ts';

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

export class ApiError extends Error {
  readonly type: ApiErrorType;
  readonly param: string | undefined;
  /** Seconds after which to try again. */
  readonly retryAfter: number | undefined;
  readonly details: Readonly<Record<string, number>>;

  constructor(
    type: ApiErrorType,
    message: string,
    {
      param,
      retryAfter,
      details = {},
    }: { param?: string; retryAfter?: number; details?: Readonly<Record<string, number>> } = {},
  ) {
    super(message);
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

/** Refuses a request. @param param the field that is wrong */
export function refuse(message: string, param?: string): never {
  throw new ApiError('invalid_request_error', message, { param });
}

/** Error types of a bad request, by our own codes; any other error is the server's. */
const typeByCode: Partial<Record<ErrorCode, ApiErrorType>> = {
  INPUT: 'invalid_request_error',
  CONFIG: 'invalid_request_error',
  FORMAT: 'invalid_request_error',
  MISMATCH: 'invalid_request_error',
  ABORTED: 'unavailable_error',
};

const typeByReason: Readonly<Record<SessionError['reason'], ApiErrorType>> = {
  missing: 'not_found_error',
  busy: 'conflict_error',
  stale: 'conflict_error',
  full: 'rate_limit_error',
  name: 'invalid_request_error',
};

/** Any error as one that may be reported; errors of the server reveal no internals. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof OverloadError) {
    return error.reason === 'full'
      ? new ApiError('rate_limit_error', error.message, { retryAfter: 1 })
      : new ApiError('unavailable_error', error.message, { retryAfter: 5 });
  }
  if (error instanceof StoreError && error.reason === 'unavailable') {
    return new ApiError('unavailable_error', error.message, { retryAfter: 1 });
  }
  if (error instanceof StoreError || isFull(error)) {
    return new ApiError(
      'insufficient_storage_error',
      'there is no room left to keep states; delete sessions, or make room',
    );
  }
  if (error instanceof SessionError) return new ApiError(typeByReason[error.reason], error.message);
  const type = error instanceof LinnetError ? typeByCode[error.code] : undefined;
  if (type !== undefined && error instanceof LinnetError) return new ApiError(type, error.message);
  return new ApiError('server_error', 'the server failed; its log says more');
}
