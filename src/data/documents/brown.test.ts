import { describe, expect, it } from 'vitest';
import { brownText } from './brown.ts';

describe('brownText', () => {
  it.each([
    ['The/at jury/nn said/vbd ,/, no/at ./.', 'The jury said, no.'],
    ["It's/pps+bez ``/`` no/at evidence/nn ''/'' ./.", 'It\'s "no evidence."'],
    ["``/`` Thank/vb you/ppo ''/'' ,/, he/pps said/vbd ./.", '"Thank you," he said.'],
    ["Could/md we/ppss ''/'' ?/. ?/.", 'Could we?"'],
    ['Wait/vb ;/. ;/. then/rb go/vb ./.', 'Wait; then go.'],
    ['by/in Ivan/np Allen/np Jr./np ./.', 'by Ivan Allen Jr.'],
    ['late/rb (/( AP/np )/) --/-- here/rb', 'late (AP) -- here'],
    ["'/' No/rb '/' ,/, it/pps was/bedz '/' yes/rb '/' ./.", "'No', it was 'yes'."],
    ['counts/nns //in minute/nn /l//nn $600/nns', 'counts / minute /l/ $600'],
    ['of/in **ye/nn was/bedz (/(-hl x/nn )/)-hl', 'of was (x)'],
  ])('puts %s together', (tagged, text) => {
    expect(brownText(tagged)).toBe(`${text}\n`);
  });

  it('keeps paragraphs and sets headlines apart', () => {
    const tagged = '\n\n\tOne/cd ./.\nTwo/cd ./.\n\n\nMerger/nn-hl proposed/vbn-hl \nThree/cd ./.\n\n';
    expect(brownText(tagged)).toBe('One. Two.\n\nMerger proposed\n\nThree.\n');
  });
});
