"""MT-Bench by its own protocol: 80 questions of two turns in eight categories, graded or compared.

Zheng et al. 2023, "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena" (arXiv 2306.05685), and
FastChat's `llm_judge`.
"""
