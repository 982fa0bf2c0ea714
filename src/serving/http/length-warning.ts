/** A word to clients whose prompts are longer than what the model was trained for: it answers, but predicts worse. */
import type { Serving } from './request-context.ts';

/** The header that says so. */
const header = 'x-linnet-warning';

/** The response, with the header where one of the prompts is that long. */
export function withWarning(
  { model }: Pick<Serving, 'model'>,
  prompts: readonly (readonly number[])[],
  response: Response,
): Response {
  const { trainedLength } = model.engine.model.sizes;
  const longest = prompts.reduce((most, { length }) => Math.max(most, length), 0);
  if (trainedLength !== undefined && longest > trainedLength) {
    response.headers.set(header, `a prompt has ${longest} tokens; the model was trained for ${trainedLength}`);
  }
  return response;
}
