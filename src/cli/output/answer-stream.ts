/** Shows an answer as it comes. */
import type { ThoughtPart } from '../../engine/thinking/thought-reader.ts';
import type { CommandContext } from '../framework/context.ts';

/** Shows parts: thoughts dimmed on a terminal, and not at all elsewhere. The function says whether it has shown a part. */
export function answerStream(context: CommandContext): (part: ThoughtPart) => boolean {
  let isThinking = false;
  return ({ type, text }) => {
    if (type === 'thought' && !context.streamsToTerminal) return false;
    if (isThinking && type === 'text') context.stream('\n\n');
    isThinking = type === 'thought';
    context.stream(text, { dimmed: isThinking });
    return true;
  };
}
