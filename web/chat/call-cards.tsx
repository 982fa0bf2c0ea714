/** Function calls in a turn: a card each, with arguments and the result, or a field for it. */
import { useState } from 'preact/hooks';
import { Button } from '../components/button.tsx';
import type { Call } from './conversation.ts';

export interface CallCardsProps {
  readonly calls: readonly Call[];
  /** Results to show, one for each call, if any. */
  readonly results: readonly string[] | undefined;
  /** Receives results; undefined if none can be given. */
  readonly onResults: ((results: readonly string[]) => void) | undefined;
}

export function CallCards({ calls, results, onResults }: CallCardsProps) {
  const [drafts, setDrafts] = useState<readonly string[]>([]);
  const [changing, setChanging] = useState(false);
  const asks = onResults !== undefined && (results === undefined || changing);
  const draftOf = (place: number): string => drafts[place] ?? results?.[place] ?? '';
  return (
    <form
      class="calls"
      onSubmit={(event) => {
        event.preventDefault();
        setChanging(false);
        onResults?.(calls.map((_, place) => draftOf(place)));
      }}
    >
      {calls.map((call, place) => (
        <section key={call.id} class="call" aria-label={`Call of ${call.name}`}>
          <h3>
            <span class="kind">calls</span> <code>{call.name}</code>
          </h3>
          <Arguments json={call.json} />
          {asks ? (
            <textarea
              aria-label={`Result of ${call.name}`}
              placeholder="Its result"
              rows={2}
              value={draftOf(place)}
              onInput={({ currentTarget: { value } }) => {
                setDrafts(calls.map((_, other) => (other === place ? value : draftOf(other))));
              }}
            />
          ) : (
            results !== undefined && (
              <div class="result">
                <span class="kind">result</span>
                <div class="plain">{results[place]}</div>
              </div>
            )
          )}
        </section>
      ))}
      {asks && (
        <Button name={calls.length === 1 ? 'Give the result' : 'Give the results'} kind="primary" type="submit" />
      )}
      {!asks && onResults !== undefined && (
        <Button name="Change the result" icon="edit" kind="quiet" onClick={() => setChanging(true)} />
      )}
    </form>
  );
}

/** Arguments by name; raw text while they are incomplete. */
function Arguments({ json }: { readonly json: string }) {
  let given: unknown;
  try {
    given = JSON.parse(json);
  } catch {
    return <pre>{json}</pre>;
  }
  const entries = Object.entries(typeof given === 'object' && given !== null ? given : {});
  if (entries.length === 0) return <p class="muted">no arguments</p>;
  return (
    <dl>
      {entries.map(([name, value]: [string, unknown]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{typeof value === 'string' ? value : JSON.stringify(value)}</dd>
        </div>
      ))}
    </dl>
  );
}
