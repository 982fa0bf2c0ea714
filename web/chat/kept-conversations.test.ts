/** What is kept comes back; what cannot be read is passed over. */
import { describe, expect, it } from 'vitest';
import { addTurn, emptyConversation } from './conversation.ts';
import { KeptConversations, memoryStorage, newKey, titleOf } from './kept-conversations.ts';
import { defaultSettings } from './settings.ts';

const asked = addTurn(emptyConversation, undefined, { author: 'user', text: 'Who  sings\nthere?' });
const answered = addTurn(asked, 0, { author: 'model', text: 'A linnet.' });
const kept = {
  ...{ key: 'a', name: '', changed: 5, open: true, conversation: answered, session: 'sess_1' },
  settings: { ...defaultSettings, temperature: 0.3, seed: 7, system: 'Be brief.', markdown: false },
};

describe('conversations in local storage', () => {
  it('come back as they were, the newest first, for their model alone', () => {
    const storage = memoryStorage();
    const conversations = new KeptConversations('tiny', storage);
    conversations.keep(kept);
    conversations.keep({ ...kept, key: 'b', changed: 9, open: false });
    new KeptConversations('tiny:x', storage).keep(kept);
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
  ])('pass over %j', (broken) => {
    const storage = memoryStorage();
    storage.setItem('linnet-conversation:tiny:x', broken);
    expect(new KeptConversations('tiny', storage).list()).toEqual([]);
  });

  it('have settings of the right types', () => {
    const storage = memoryStorage();
    const conversations = new KeptConversations('tiny', storage);
    conversations.keep(kept);
    const text = storage.getItem('linnet-conversation:tiny:a') ?? '';
    storage.setItem('linnet-conversation:tiny:a', text.replace('"temperature":0.3', '"temperature":"hot","evil":1'));
    expect(conversations.list()[0].settings).toEqual({ ...kept.settings, temperature: defaultSettings.temperature });
  });

  it('are called by their name, or their first words', () => {
    expect(titleOf({ ...kept, name: 'Birds' })).toBe('Birds');
    expect(titleOf(kept)).toBe('Who sings there?');
    expect(newKey()).not.toBe(newKey());
  });
});
