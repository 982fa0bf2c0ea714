/** `linnet/studies`: what measures the method, not what runs it. */
export {
  type CompareRulesOptions,
  compareRules,
  type NamedRule,
  type RuleAgreement,
  verificationRules,
} from './rules/verification-rules.ts';
