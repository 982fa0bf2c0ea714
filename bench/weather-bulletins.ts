/**
 * Writes weather bulletins as JSON Lines: fixed wording with varying numbers and names, like logs, forms
 * and reports. `bench/speculation.sh` trains a model on them, since drafts pay on predictable text.
 *
 *     node --import tsx bench/weather-bulletins.ts FILE [COUNT] [SEED]
 */
import { writeFileSync } from 'node:fs';
import { Random } from '../src/random.ts';

const stations = ['Aldermoor', 'Brackwater', 'Cold Fell', 'Dunlin Point', 'Eastry', 'Fairlight', 'Gannet Head', 'Holm'];
const skies = ['clear', 'mostly clear', 'partly cloudy', 'overcast', 'hidden in low cloud'];
const winds = ['calm', 'light', 'moderate', 'fresh', 'strong'];
const points = ['north', 'north-east', 'east', 'south-east', 'south', 'south-west', 'west', 'north-west'];
const trends = ['rising slowly', 'steady', 'falling slowly', 'falling'];
const outlooks = [
  'Dry weather is expected to continue until the evening.',
  'Showers are expected to arrive from the west in the afternoon.',
  'Rain is expected to spread from the south and to clear by midnight.',
  'Fog is expected to form in the valleys and to lift by noon.',
];

function bulletin(random: Random): string {
  const any = (words: readonly string[]): string => words[random.integer(words.length)];
  const hour = String(random.integer(24)).padStart(2, '0');
  const wind = any(winds);
  const direction = wind === 'calm' ? 'The air is calm.' : `The wind is ${wind} from the ${any(points)}.`;
  return [
    `Weather bulletin of the station at ${any(stations)}, issued at ${hour}:00.`,
    `The sky is ${any(skies)} and the visibility is ${5 * (1 + random.integer(8))} kilometres.`,
    direction,
    `The temperature is ${random.integer(30)} degrees and the humidity is ${50 + 5 * random.integer(10)} per cent.`,
    `The pressure is ${990 + 5 * random.integer(10)} hectopascals and ${any(trends)}.`,
    any(outlooks),
    'The next bulletin will be issued in one hour.',
  ].join(' ');
}

/** Several bulletins, like a station's log. */
function logbook(random: Random): string {
  return Array.from({ length: 12 }, () => bulletin(random)).join('\n');
}

const [file, count = '400', seed = '1'] = process.argv.slice(2);
if (file === undefined) throw new Error('usage: weather-bulletins.ts FILE [COUNT] [SEED]');
const random = new Random(Number(seed));
const lines = Array.from({ length: Number(count) }, () => JSON.stringify({ text: logbook(random) }));
writeFileSync(file, `${lines.join('\n')}\n`);
