/** Options of low-rank adaptation: the plan's, with their own spelling for the adaptation. */
import { z } from 'zod';
import { LinnetError } from '../../errors.ts';
import { adaptationShape } from '../../training/plans/adaptation.ts';
import { type LoraChoice, parseLoraChoice } from '../../training/lora.ts';
import { optional, settings } from '../framework/command.ts';
import { optionsOf } from '../framework/schema-options.ts';
import type { ValueKind } from '../framework/option-values.ts';

const loraChoice: ValueKind<LoraChoice> = {
  schema: z.string().transform((given, context) => {
    try {
      return parseLoraChoice(given);
    } catch (error) {
      if (!(error instanceof LinnetError)) throw error;
      context.addIssue({ code: 'custom', message: error.message });
      return z.NEVER;
    }
  }),
  expects: 'r, alpha and targets, such as r=8,alpha=16,targets=q,k,v,o',
  placeholder: 'settings',
};

const { lora: adaptation, ...others } = adaptationShape;

export const loraOptions = {
  lora: optional(loraChoice, adaptation.meta()?.description ?? ''),
  ...settings(optionsOf(others)),
};
