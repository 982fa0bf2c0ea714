/** The page: sessions side by side, and what concerns all of them. */
import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { Button } from '../components/button.tsx';
import { Dialog } from '../components/dialog.tsx';
import { TextField } from '../components/fields.tsx';
import { SchemeButton } from '../components/scheme.tsx';
import { ColumnModel, type ColumnStart } from './column-model.ts';
import { ChatColumn } from './column.tsx';
import { ConversationList } from './conversation-list.tsx';
import { readConversation } from './conversation-file.ts';
import { showTurn } from './conversation.ts';
import { chooseFile } from '../components/files.ts';
import { type KeptConversation, KeptConversations, browserStorage, newKey } from './kept-conversations.ts';
import { KeyNeeded, Server, type ServerFacts } from './server.ts';

const keyStorage = 'linnet-api-key';
const mostColumns = 6;

function keptKey(): string {
  try {
    return sessionStorage.getItem(keyStorage) ?? '';
  } catch {
    return '';
  }
}

export function ChatApp() {
  const [key, setKey] = useState(keptKey);
  const server = useMemo(() => new Server(key), [key]);
  const [facts, setFacts] = useState<ServerFacts | undefined>(undefined);
  const [columns, setColumns] = useState<readonly ColumnModel[]>([]);
  const made = useRef(0);
  /** Keys of columns that were closed: what they still write is not kept. */
  const closed = useRef(new Set<string>());
  const [askingKey, setAskingKey] = useState(false);
  const [listing, setListing] = useState(false);
  const [problem, setProblem] = useState<string | undefined>(undefined);

  const onProblem = useCallback((error: unknown) => {
    if (error instanceof KeyNeeded) setAskingKey(true);
    else setProblem(error instanceof Error ? error.message : String(error));
  }, []);

  const storage = useMemo(browserStorage, []);
  const kept = useMemo(() => facts && new KeptConversations(facts.model, storage), [facts, storage]);

  useEffect(() => {
    let current = true;
    const start = async (): Promise<void> => {
      const found = await server.facts();
      const open = new KeptConversations(found.model, storage).list().filter((one) => one.open);
      const starts = await Promise.all(open.slice(0, mostColumns).map((one) => startOf(server, one, onProblem)));
      if (!current) return;
      setFacts(found);
      document.title = `${found.model} · Linnet`;
      const first = starts.length > 0 ? starts.toReversed() : [undefined];
      setColumns((known) =>
        known.length > 0 ? known : first.map((one, index) => new ColumnModel(index + 1, found.chat, one)),
      );
      made.current = Math.max(first.length, made.current);
    };
    start().catch((error: unknown) => {
      if (current) onProblem(error);
    });
    return () => {
      current = false;
    };
  }, [server, storage, onProblem]);

  useEffect(() => {
    if (kept === undefined) return;
    const stops = columns.map((model) => {
      let before = model.snapshot.writing;
      return model.watch(() => {
        const { writing } = model.snapshot;
        // Once when an answer begins, so that the question stays, and not for its every piece.
        if (closed.current.has(model.key) || (writing !== undefined && writing === before)) return;
        before = writing;
        keep(kept, model, true, onProblem);
      });
    });
    return () => {
      for (const stop of stops) stop();
    };
  }, [kept, columns, onProblem]);

  const add = (start?: ColumnStart): void => {
    if (facts === undefined || columns.length >= mostColumns) return;
    made.current++;
    const model = new ColumnModel(made.current, facts.chat, start);
    closed.current.delete(model.key);
    setColumns((known) => (known.length >= mostColumns ? known : [...known, model]));
    if (kept !== undefined) keep(kept, model, true, onProblem);
  };
  const addKept = (one: KeptConversation): void => {
    setListing(false);
    setProblem(undefined);
    startOf(server, one, onProblem).then(add, onProblem);
  };
  const beside = (from: ColumnModel, turn: number): void => {
    const { conversation, settings, session } = from.snapshot;
    add({ conversation: { ...showTurn(conversation, turn), leaf: turn }, settings, session });
  };
  const open = async (): Promise<void> => {
    const file = await chooseFile();
    if (file === undefined) return;
    if (file.name.endsWith('.json')) {
      const { conversation, system } = readConversation(await file.text());
      add({ conversation, settings: { system } });
      return;
    }
    const id = await server.openSession(file);
    add({ session: { id, text: await server.sessionText(id) } });
  };
  const close = (model: ColumnModel): void => {
    closed.current.add(model.key);
    model.stop();
    setColumns((known) => known.filter((column) => column !== model));
    if (kept !== undefined) keep(kept, model, false, onProblem);
  };
  const remove = ({ key: removed, session }: KeptConversation): void => {
    closed.current.add(removed);
    columns.find((column) => column.key === removed)?.stop();
    setColumns((known) => known.filter((column) => column.key !== removed));
    kept?.remove(removed);
    const shared = kept?.list().some((other) => other.session === session);
    if (session !== undefined && shared !== true) void server.forget(session);
  };
  const rename = (one: KeptConversation, name: string): void => {
    const shown = columns.find((column) => column.key === one.key);
    if (shown === undefined) kept?.keep({ ...one, name });
    else shown.setName(name);
  };

  return (
    <>
      <header class="top">
        <h1>Linnet</h1>
        {facts !== undefined && <span class="model">{facts.model}</span>}
        <div class="buttons">
          <Button name="Conversations" icon="list" disabled={facts === undefined} onClick={() => setListing(true)} />
          <Button
            name="New session"
            icon="plus"
            disabled={facts === undefined || columns.length >= mostColumns}
            onClick={() => add()}
          />
          <Button
            name="Open"
            icon="open"
            disabled={facts === undefined || columns.length >= mostColumns}
            onClick={() => {
              open().catch(onProblem);
            }}
          />
          <SchemeButton />
        </div>
      </header>
      {problem !== undefined && (
        <div class="notice" role="alert">
          <span>{problem}</span>
          <Button name="Dismiss" icon="close" bare onClick={() => setProblem(undefined)} />
        </div>
      )}
      <main class="columns">
        {columns.map((model) => (
          <ChatColumn
            key={model.id}
            model={model}
            server={server}
            title={`Session ${model.id}`}
            onClose={columns.length > 1 ? () => close(model) : undefined}
            onBeside={beside}
            onProblem={onProblem}
          />
        ))}
      </main>
      {listing && kept !== undefined && (
        <ConversationList
          list={() => kept.list()}
          shown={new Set(columns.map((column) => column.key))}
          room={columns.length < mostColumns}
          onOpen={addKept}
          onCopy={(one) => addKept({ ...one, key: newKey() })}
          onName={rename}
          onDelete={remove}
          onClose={() => setListing(false)}
        />
      )}
      {askingKey && (
        <KeyDialog
          onClose={() => setAskingKey(false)}
          onKey={(given) => {
            try {
              sessionStorage.setItem(keyStorage, given);
            } catch {
              // Kept as long as the page is open.
            }
            setKey(given);
            setAskingKey(false);
          }}
        />
      )}
    </>
  );
}

/** What a kept conversation starts a column with: its turns alone, where the server has lost the session before them. */
async function startOf(
  server: Server,
  { key, name, conversation, settings, session }: KeptConversation,
  onProblem: (error: unknown) => void,
): Promise<ColumnStart> {
  let text: string | undefined;
  try {
    text = session === undefined ? undefined : await server.sessionText(session);
  } catch (error) {
    onProblem(error);
  }
  return {
    ...{ key, name, conversation, settings },
    session: session === undefined || text === undefined ? undefined : { id: session, text },
  };
}

/** Keeps a conversation that has a text. */
function keep(kept: KeptConversations, model: ColumnModel, open: boolean, onProblem: (error: unknown) => void): void {
  const { conversation, session } = model.snapshot;
  if (conversation.turns.length === 0 && session === undefined) return;
  try {
    kept.keep(model.kept(open));
  } catch {
    onProblem(new Error('The browser has no room to keep this conversation; delete others, or save it to a file.'));
  }
}

function KeyDialog({ onClose, onKey }: { readonly onClose: () => void; readonly onKey: (key: string) => void }) {
  const [key, setKey] = useState('');
  return (
    <Dialog
      title="API key"
      onClose={onClose}
      footer={<Button name="Use" kind="primary" disabled={key === ''} onClick={() => onKey(key)} />}
    >
      <TextField
        label="Key"
        note="The server asks for one. It is kept until this tab is closed."
        secret
        value={key}
        onValue={setKey}
      />
    </Dialog>
  );
}
