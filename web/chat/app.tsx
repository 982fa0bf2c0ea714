/** The page: sessions side by side, and their shared parts. */
import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { Button } from '../components/button.tsx';
import { SchemeButton } from '../components/scheme.tsx';
import { ColumnModel, type ColumnStart } from './column-model.ts';
import { ChatColumn } from './column.tsx';
import { ConversationList } from './conversation-list.tsx';
import { readConversation } from './conversation-file.ts';
import { newKey, showTurn } from './conversation.ts';
import { chooseFile } from '../components/files.ts';
import {
  type KeptConversation,
  KeptConversations,
  browserStorage,
  numberedTitle,
  titleOf,
} from './kept-conversations.ts';
import { KeyDialog } from './key-dialog.tsx';
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

/** Milliseconds between saves of a growing answer. */
const keepEvery = 1000;

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function ChatApp() {
  const [key, setKey] = useState(keptKey);
  const [attempt, setAttempt] = useState(0);
  const [askingKey, setAskingKey] = useState(false);
  const server = useMemo(() => new Server(key, () => setAskingKey(true)), [key, attempt]);
  const [facts, setFacts] = useState<ServerFacts | undefined>(undefined);
  /** Why the server's facts are missing. */
  const [failure, setFailure] = useState<unknown>(undefined);
  const [columns, setColumns] = useState<readonly ColumnModel[]>([]);
  const made = useRef(0);
  /** Keys of closed columns; their further output is not kept. */
  const closed = useRef(new Set<string>());
  const [listing, setListing] = useState(false);
  const [problem, setProblem] = useState<string | undefined>(undefined);

  const onProblem = useCallback((error: unknown) => {
    // A dialog asks for a missing key.
    if (!(error instanceof KeyNeeded)) setProblem(messageOf(error));
  }, []);

  const storages = useMemo(() => [browserStorage('localStorage'), browserStorage('sessionStorage')] as const, []);
  const kept = useMemo(() => facts && new KeptConversations(facts.model, ...storages), [facts, storages]);

  useEffect(() => {
    let current = true;
    const start = async (): Promise<void> => {
      const found = await server.facts();
      const shown = new KeptConversations(found.model, ...storages).shown().slice(0, mostColumns);
      const starts = await Promise.all(shown.map((one) => startOf(server, one, onProblem)));
      if (!current) return;
      if (key !== '') storages[1].setItem(keyStorage, key);
      setFailure(undefined);
      setFacts(found);
      document.title = `${found.model} · Linnet`;
      const first = starts.length > 0 ? starts : [undefined];
      setColumns((known) =>
        known.length > 0
          ? known
          : first.map((one, index) => new ColumnModel(index + 1, found.chat, one, found.advised)),
      );
      made.current = Math.max(first.length, made.current);
    };
    start().catch((error: unknown) => {
      if (current) setFailure(error);
    });
    return () => {
      current = false;
    };
  }, [server, storages, onProblem]);

  /** Closes a column and stops its answer. */
  const drop = (dropped: string): void => {
    closed.current.add(dropped);
    columns.find((column) => column.key === dropped)?.stop();
    setColumns((known) => known.filter((column) => column.key !== dropped));
  };
  const row = useRef<HTMLElement>(null);
  const shownBefore = useRef(0);
  useEffect(() => {
    // On a phone, a new column lies outside the view.
    const isAdded = shownBefore.current > 0 && columns.length > shownBefore.current;
    if (isAdded) row.current?.lastElementChild?.scrollIntoView({ inline: 'nearest', block: 'nearest' });
    shownBefore.current = columns.length;
    if (kept === undefined || columns.length === 0) return;
    try {
      kept.keepShown(columns.map((column) => column.key));
    } catch {
      // `keep` reports a full storage.
    }
  }, [kept, columns]);

  useEffect(() => {
    if (kept === undefined) return;
    const stops = columns.map((model) => {
      let before = model.snapshot.writing;
      let timer: ReturnType<typeof setTimeout> | undefined;
      const keepNow = (): void => {
        clearTimeout(timer);
        timer = undefined;
        if (!closed.current.has(model.key)) keep(kept, model, onProblem);
      };
      // Leaving the page aborts answers; the kept copies must not record that as their end.
      let isLeft = false;
      const leave = (): void => {
        if (timer !== undefined) keepNow();
        isLeft = true;
      };
      const stop = model.watch(() => {
        const { writing } = model.snapshot;
        if (isLeft) return;
        if (writing === undefined || writing !== before) keepNow();
        else timer ??= setTimeout(keepNow, keepEvery);
        before = writing;
      });
      // Browsers may bring a left page back from memory.
      const comeBack = (): void => {
        isLeft = false;
      };
      addEventListener('pagehide', leave);
      addEventListener('pageshow', comeBack);
      return () => {
        stop();
        leave();
        removeEventListener('pagehide', leave);
        removeEventListener('pageshow', comeBack);
      };
    });
    const changed = ({ key: storageKey, newValue }: StorageEvent): void => {
      const other = kept.keyOf(storageKey ?? '');
      const model = columns.find((column) => column.key === other);
      if (model === undefined) return;
      if (newValue === null) drop(model.key);
      const now = kept.find(other);
      if (now === undefined) return;
      if (now.name !== model.snapshot.name) model.setName(now.name);
      model.merge(now.conversation);
    };
    addEventListener('storage', changed);
    return () => {
      for (const stop of stops) stop();
      removeEventListener('storage', changed);
    };
  }, [kept, columns, onProblem]);

  const add = (start?: ColumnStart): void => {
    if (facts === undefined || columns.length >= mostColumns) return;
    made.current++;
    const model = new ColumnModel(made.current, facts.chat, start, facts.advised);
    closed.current.delete(model.key);
    setColumns((known) => (known.length >= mostColumns ? known : [...known, model]));
    if (kept !== undefined) keep(kept, model, onProblem);
  };
  const addKept = (one: KeptConversation): void => {
    setListing(false);
    setProblem(undefined);
    startOf(server, one, onProblem).then(add, onProblem);
  };
  const numbered = (title: string): string => numberedTitle(title, kept?.list().map(titleOf) ?? []);
  const beside = (from: ColumnModel, turn: number): void => {
    const { conversation, settings, session } = from.snapshot;
    const name = numbered(titleOf(from.snapshot));
    add({ name, conversation: { ...showTurn(conversation, turn), leaf: turn }, settings, session });
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
    if (kept !== undefined) keep(kept, model, onProblem);
    drop(model.key);
  };
  const remove = ({ key: removed, session }: KeptConversation): void => {
    drop(removed);
    kept?.remove(removed);
    const shared = kept?.list().some((other) => other.session === session);
    if (session !== undefined && shared !== true) void server.forget(session);
  };
  const rename = (one: KeptConversation, name: string): void => {
    const shown = columns.find((column) => column.key === one.key);
    if (shown === undefined) kept?.keep({ ...(kept.find(one.key) ?? one), name });
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
      <main class="columns" ref={row}>
        {facts === undefined && failure !== undefined && (
          <div class="column welcome">
            <p>{messageOf(failure)}</p>
            {failure instanceof KeyNeeded ? (
              <Button name="Enter the key" kind="primary" onClick={() => setAskingKey(true)} />
            ) : (
              <Button name="Try again" kind="primary" onClick={() => setAttempt(attempt + 1)} />
            )}
          </div>
        )}
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
          onCopy={(one) => addKept({ ...one, key: newKey(), name: numbered(titleOf(one)) })}
          onName={rename}
          onDelete={remove}
          onClose={() => setListing(false)}
        />
      )}
      {askingKey && (
        <KeyDialog
          refused={key}
          onClose={() => setAskingKey(false)}
          onKey={(given) => {
            setAskingKey(false);
            setKey(given);
            setAttempt(attempt + 1);
          }}
        />
      )}
    </>
  );
}

/** How a kept conversation opens in a column: without its session if the server has lost it. */
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

/** Keeps a conversation, merged with another tab's turns, unless it is empty. */
function keep(kept: KeptConversations, model: ColumnModel, onProblem: (error: unknown) => void): void {
  const { conversation, session } = model.snapshot;
  if (conversation.turns.length === 0 && session === undefined) return;
  const other = kept.find(model.key);
  if (other !== undefined) model.merge(other.conversation);
  try {
    kept.keep(model.kept());
  } catch {
    onProblem(new Error('The browser has no room to keep this conversation; delete others, or save it to a file.'));
  }
}
