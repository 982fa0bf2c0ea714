/** Kept conversations come back; unreadable entries are skipped. */
import { describe, expect, it } from 'vitest';
import { addTurn, emptyConversation } from './conversation.ts';
import { KeptConversations, memoryStorage, numberedTitle, titleOf } from './kept-conversations.ts';
import { defaultSettings } from './settings.ts';

const asked = addTurn(emptyConversation, undefined, { author: 'user', text: 'Who  sings\nthere?' });
const answered = addTurn(asked, 0, { author: 'model', text: 'A linnet.' });
const kept = {
  ...{ key: 'a', name: '', changed: 5, conversation: answered, session: 'sess_1' },
  settings: { ...defaultSettings, temperature: 0.3, seed: 7, system: 'Be brief.', markdown: false },
};

describe('conversations in local storage', () => {
  it('come back as they were, the newest first, for their model alone', () => {
    const storage = memoryStorage();
    const conversations = new KeptConversations('tiny', storage, memoryStorage());
    conversations.keep(kept);
    conversations.keep({ ...kept, key: 'b', changed: 9 });
    new KeptConversations('tiny:x', storage, memoryStorage()).keep(kept);
    const [first, second] = conversations.list();
    expect([first.key, second.key, conversations.list().length]).toEqual(['b', 'a', 2]);
    expect(second).toEqual(kept);
    conversations.remove('b');
    expect(conversations.list().map(({ key }) => key)).toEqual(['a']);
  });

  const text = '{\\"format\\":\\"linnet-conversation\\",\\"version\\":1,\\"turns\\":[]}';
  it.each([
    ...['', '{}', 'null', '{"text":"[]"}', '{"text":7,"settings":[]}'],
    ...[`{"name":"a","changed":"now","text":"${text}"}`, `{"name":7,"changed":1,"text":"${text}"}`],
    `{"name":"a","changed":1e300,"text":"${text}"}`,
  ])('skip %j', (broken) => {
    const storage = memoryStorage();
    storage.setItem('linnet-conversation:tiny:x', broken);
    expect(new KeptConversations('tiny', storage, memoryStorage()).list()).toEqual([]);
  });

  it('have settings of the right types', () => {
    const storage = memoryStorage();
    const conversations = new KeptConversations('tiny', storage, memoryStorage());
    conversations.keep(kept);
    const text = storage.getItem('linnet-conversation:tiny:a') ?? '';
    storage.setItem('linnet-conversation:tiny:a', text.replace('"temperature":0.3', '"temperature":"hot","evil":1'));
    expect(conversations.list()[0].settings).toEqual({ ...kept.settings, temperature: defaultSettings.temperature });
  });

  it('are shown in the columns of the tab; a new tab copies the last one', () => {
    const [storage, tab] = [memoryStorage(), memoryStorage()];
    const conversations = new KeptConversations('tiny', storage, tab);
    for (const key of ['a', 'b', 'c']) conversations.keep({ ...kept, key });
    const keysOf = (shown: KeptConversations) => shown.shown().map(({ key }) => key);
    conversations.keepShown(['c', 'gone', 'a']);
    expect(keysOf(conversations)).toEqual(['c', 'a']);
    new KeptConversations('tiny', storage, memoryStorage()).keepShown(['b']);
    expect(keysOf(conversations)).toEqual(['c', 'a']);
    expect(keysOf(new KeptConversations('tiny', storage, memoryStorage()))).toEqual(['b']);
  });

  it('are titled by name, else by their first words', () => {
    expect(titleOf({ ...kept, name: 'Birds' })).toBe('Birds');
    expect(titleOf(kept)).toBe('Who sings there?');
    const branched = addTurn(answered, undefined, { author: 'user', text: 'Who listens?' });
    expect(titleOf({ ...kept, conversation: branched })).toBe('Who listens?');
    expect(numberedTitle('Birds', ['Birds', '(2) Birds'])).toBe('(3) Birds');
    expect(numberedTitle('(2) Birds', ['(2) Birds'])).toBe('(3) Birds');
  });
});
