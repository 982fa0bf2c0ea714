/** The kept conversations: search, open, rename, copy, delete. */
import { useState } from 'preact/hooks';
import { Button } from '../components/button.tsx';
import { Dialog } from '../components/dialog.tsx';
import { TextField } from '../components/fields.tsx';
import { shownPath } from './conversation.ts';
import { type KeptConversation, titleOf } from './kept-conversations.ts';

export interface ConversationListProps {
  readonly list: () => readonly KeptConversation[];
  /** Keys of the shown conversations. */
  readonly shown: ReadonlySet<string>;
  /** Whether another column can be opened. */
  readonly room: boolean;
  readonly onOpen: (kept: KeptConversation) => void;
  readonly onCopy: (kept: KeptConversation) => void;
  readonly onName: (kept: KeptConversation, name: string) => void;
  readonly onDelete: (kept: KeptConversation) => void;
  readonly onClose: () => void;
}

export function ConversationList({
  list,
  shown,
  room,
  onOpen,
  onCopy,
  onName,
  onDelete,
  onClose,
}: ConversationListProps) {
  const [conversations, setConversations] = useState(list);
  const [words, setWords] = useState('');
  const [named, setNamed] = useState<{ readonly key: string; readonly name: string } | undefined>(undefined);
  const after = (change: () => void): void => {
    change();
    setConversations(list());
  };
  const sought = words.toLowerCase();
  const found = conversations.filter(({ name, conversation: { turns } }) =>
    [name, ...turns.map(({ text }) => text)].some((text) => text.toLowerCase().includes(sought)),
  );
  return (
    <Dialog title="Conversations" onClose={onClose}>
      <TextField label="Search" first value={words} onValue={setWords} />
      {found.length === 0 && <p class="muted">{words === '' ? 'No conversations yet.' : 'None has these words.'}</p>}
      <ul class="conversations">
        {found.map((kept) => {
          const title = titleOf(kept);
          return (
            <li key={kept.key}>
              {named?.key === kept.key ? (
                <form
                  onSubmit={(event) => {
                    event.preventDefault();
                    after(() => onName(kept, named.name.trim()));
                    setNamed(undefined);
                  }}
                >
                  <TextField
                    label="Name"
                    first
                    value={named.name}
                    onValue={(name) => setNamed({ key: kept.key, name })}
                  />
                  <Button name="Rename" kind="primary" type="submit" />
                </form>
              ) : (
                <>
                  <Button
                    name={title}
                    kind="quiet"
                    disabled={shown.has(kept.key) || !room}
                    onClick={() => onOpen(kept)}
                  />
                  <span class="muted">
                    <time dateTime={new Date(kept.changed).toISOString()}>
                      {new Date(kept.changed).toLocaleString()}
                    </time>
                    {lastWords(kept)}
                  </span>
                  <Button
                    name={`Rename ${title}`}
                    icon="edit"
                    bare
                    onClick={() => setNamed({ key: kept.key, name: kept.name })}
                  />
                  <Button name={`Copy ${title}`} icon="copy" bare disabled={!room} onClick={() => onCopy(kept)} />
                  <Button name={`Delete ${title}`} icon="close" bare onClick={() => after(() => onDelete(kept))} />
                </>
              )}
            </li>
          );
        })}
      </ul>
    </Dialog>
  );
}

/** The shown branch's last question, unless it is the first turn. */
function lastWords({ conversation }: KeptConversation): string {
  const last = shownPath(conversation).findLast(({ author }) => author === 'user');
  return last?.parent === undefined ? '' : ` · ${last.text.trim().replaceAll(/\s+/g, ' ').slice(0, 100)}`;
}
