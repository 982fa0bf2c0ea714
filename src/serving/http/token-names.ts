/** What answers call tokens: their text, or `token_id:N` for clients that want to tell apart tokens that look alike. */
import type { TokenPieces } from '../../engine/text/token-pieces.ts';
import type { SamplingFields } from './request-fields.ts';

/** Names a token. */
export type TokenNames = (id: number) => string;

/** As the request asks for. */
export function tokenNames(
  { return_tokens_as_token_ids: asIds }: Pick<SamplingFields, 'return_tokens_as_token_ids'>,
  pieces: TokenPieces,
): TokenNames {
  return asIds === true ? (id) => `token_id:${id}` : (id) => pieces.of(id);
}
