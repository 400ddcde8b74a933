// The page of a problem: its code, put into the words of the language that the reader chose on the
// other pages.

import {words} from './problem-words.js';
import {Language} from './language.js';
import {$, put} from './dom.js';

const language = new Language(words);
const {code} = document.querySelector('main').dataset;

// say gives the words of this problem; one without words of its own is said to be a problem.
function say(what) {
  const key = what + '-' + code;
  return language.t(language.has(key) ? key : what + '-other');
}

function show() {
  language.apply();
  put($('what'), say('what'));
  put($('remedy'), say('remedy'));
  document.title = say('what');
  const other = $('language');
  put(other, language.t('other-language'));
  other.lang = language.name === 'zh' ? 'en' : 'zh-CN';
}

$('language').addEventListener('click', () => {
  language.switch();
  show();
});

show();
