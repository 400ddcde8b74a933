// The words of the page of a problem. Both dictionaries have the same keys; a test holds them to it.

export const words = {
  zh: {
    'title': '打不开',
    'other-language': 'English',
    'other-language-label': '切换到英文',
    'home': '返回首页',
    'what-not-found': '没有这个页面',
    'remedy-not-found': '网址可能写错了，或者页面已经移走。请从首页进入。',
    'what-wrong-method': '不能这样打开',
    'remedy-wrong-method': '这个网址不接受所用的请求方式，什么都没有改动。请从首页进入。',
    'what-foreign-origin': '已拒绝：请求来自别的网站',
    'remedy-foreign-origin': '别的网站的页面不得在这里操作，什么都没有改动。如果是您本人要操作，请从首页进入。',
    'what-other': '打不开',
    'remedy-other': '请稍后再试，或返回首页。',
  },
  en: {
    'title': 'Can’t be opened',
    'other-language': '中文',
    'other-language-label': 'Switch to Chinese',
    'home': 'To the first page',
    'what-not-found': 'There is no such page',
    'remedy-not-found': 'The address may be misspelt, or the page has moved. Begin at the first page.',
    'what-wrong-method': 'It can’t be opened this way',
    'remedy-wrong-method': 'This address does not take that kind of request; nothing was changed. Begin at the first page.',
    'what-foreign-origin': 'Refused: the request came from another site',
    'remedy-foreign-origin': 'Pages of other sites may do nothing here; nothing was changed. If it was you, begin at the first page.',
    'what-other': 'Can’t be opened',
    'remedy-other': 'Try again later, or go back to the first page.',
  },
};
