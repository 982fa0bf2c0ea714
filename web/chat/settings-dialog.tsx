/** Settings of a column, in a window. They hold for what is written from now on. */
import { Button } from '../components/button.tsx';
import { Dialog } from '../components/dialog.tsx';
import { CheckField, ChoiceField, NumberField, Slider, TextField } from '../components/fields.tsx';
import { formatFixed } from '../../src/report/quantities.ts';
import { defaultSettings, type Settings, type Speculation } from './settings.ts';

export interface SettingsDialogProps {
  readonly settings: Settings;
  /** Whether there are messages, and so a system prompt. */
  readonly chat: boolean;
  readonly onSettings: (settings: Settings) => void;
  readonly onClose: () => void;
}

const speculations: Readonly<Record<Speculation, string>> = {
  server: 'as the server does',
  off: 'off: one token a round',
  lookup: 'look-up in the text so far',
};

const twoDecimals = (value: number): string => formatFixed(value, 2);

export function SettingsDialog({ settings, chat, onSettings, onClose }: SettingsDialogProps) {
  const set = (change: Partial<Settings>): void => onSettings({ ...settings, ...change });
  return (
    <Dialog
      title="Settings"
      onClose={onClose}
      footer={
        <>
          <Button name="Reset" onClick={() => set({ ...defaultSettings, markdown: settings.markdown })} />
          <Button name="Done" kind="primary" onClick={onClose} />
        </>
      }
    >
      {chat && (
        <TextField
          label="System prompt"
          rows={3}
          value={settings.system}
          placeholder="none"
          onValue={(system) => set({ system })}
        />
      )}
      <Slider
        label="Temperature"
        note="0 always takes the likeliest token"
        value={settings.temperature}
        min={0}
        max={2}
        step={0.05}
        format={twoDecimals}
        onValue={(temperature) => set({ temperature })}
      />
      <Slider
        label="Top-p"
        note="share of probability that is drawn from"
        value={settings.topP}
        min={0.05}
        max={1}
        step={0.05}
        format={twoDecimals}
        onValue={(topP) => set({ topP })}
      />
      <Slider
        label="Top-k"
        note="tokens that are drawn from"
        value={settings.topK}
        min={0}
        max={200}
        step={1}
        format={(value) => (value === 0 ? 'all' : String(value))}
        onValue={(topK) => set({ topK })}
      />
      <NumberField
        label="Most tokens"
        value={settings.maxTokens}
        min={1}
        max={65536}
        onValue={(maxTokens = defaultSettings.maxTokens) => set({ maxTokens })}
      />
      <NumberField
        label="Seed"
        note="the same seed writes the same text"
        value={settings.seed}
        min={0}
        max={4294967295}
        placeholder="another one each time"
        onValue={(seed) => set({ seed })}
      />
      <ChoiceField
        label="Speculation"
        note="faster where the text repeats; the text is the same"
        value={settings.speculation}
        choices={speculations}
        onValue={(speculation) => set({ speculation })}
      />
      <CheckField
        label="Show texts of the model as Markdown"
        checked={settings.markdown}
        onValue={(markdown) => set({ markdown })}
      />
    </Dialog>
  );
}
