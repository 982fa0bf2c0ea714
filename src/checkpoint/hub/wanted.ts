/** A request to the hub, and the errors it can end with. */
import { HubApiError } from '@huggingface/hub';
import { LinnetError, reasonOf } from '../../errors.ts';
import { quoteName } from '../../files/name-list.ts';
import { fileError, systemErrorCode } from '../../files/regular-file.ts';

/** Names of the kinds of repositories, in messages. */
export const kindNames = { model: 'model', dataset: 'data set' } as const;
export type RepositoryKind = keyof typeof kindNames;

/** A repository at a revision. */
export interface Wanted {
  readonly kind: RepositoryKind;
  readonly id: string;
  readonly revision: string;
}

/** Refusals stay refusals; broken connections and overloaded servers may recover. */
export function isTransient(error: unknown): boolean {
  if (error instanceof LinnetError || systemErrorCode(error) !== undefined) return false;
  return !(error instanceof HubApiError) || error.statusCode >= 500 || [408, 429].includes(error.statusCode);
}

export function asHubError(
  error: unknown,
  endpoint: string,
  { kind, id, revision }: Wanted,
  signal: AbortSignal | undefined,
): LinnetError {
  if (signal?.aborted)
    return new LinnetError('ABORTED', `the download of ${id} was stopped; the next one goes on from there`, {
      cause: error,
    });
  if (error instanceof LinnetError)
    return new LinnetError(error.code, `${id} (${revision}): ${error.message}`, { cause: error });
  if (systemErrorCode(error) !== undefined) return fileError('store', id, error);
  if (error instanceof HubApiError && [401, 403].includes(error.statusCode)) {
    const advice =
      'it is private, gated or does not exist; check the name, accept its terms on the hub, and give a token with access';
    return new LinnetError('INPUT', `${endpoint} refuses access to ${id}: ${advice}`, { cause: error });
  }
  if (error instanceof HubApiError && error.statusCode === 404) {
    return new LinnetError(
      'NOT_FOUND',
      `${endpoint} has no ${kindNames[kind]} ${id} at revision ${quoteName(revision)}`,
      {
        cause: error,
      },
    );
  }
  return new LinnetError(
    'NOT_FOUND',
    `cannot fetch ${id} from ${endpoint}: ${reasonOf(error)}; without a network, give a folder, such as "linnet download ${id} --out FOLDER" makes on a machine that has one`,
    { cause: error },
  );
}
